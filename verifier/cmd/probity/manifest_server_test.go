package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// publish makes a key and a signed manifest: "publish KEY FILE ID [supersedes=ID] [deny=TEXT]". KEY.pem is made where
// it is not there yet, KEY.pub beside it.
func (o *online) publish(ts *testscript.TestScript, _ bool, args []string) {
	key := scriptKey(ts, args[0])
	sum := sha256.Sum256([]byte(args[2]))
	m := &manifest.Manifest{
		ID: args[2], Vendor: "Acme", Model: "R7", Version: args[2],
		PCRs: []manifest.PCR{{Index: 0, Values: []manifest.Digests{{{Algorithm: pcr.SHA256, Value: sum[:]}}}}},
	}
	for _, a := range args[3:] {
		switch name, value, _ := strings.Cut(a, "="); name {
		case "supersedes":
			m.Supersedes = append(m.Supersedes, manifest.Supersession{ID: value})
		case "deny":
			bad := sha256.Sum256([]byte(value))
			m = &manifest.Manifest{ID: args[2], Vendor: "Acme", Model: "R7", Advisory: "ACME-7", Denied: []manifest.Denial{{
				Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: bad[:]}}, Note: value,
			}}}
		default:
			ts.Fatalf("unknown argument %q", a)
		}
	}
	unsigned, err := manifest.Encode(m)
	ts.Check(err)
	signed, err := manifest.Sign(unsigned, key, manifest.Meta{Issuer: args[0]})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), signed, 0o600))
}

func scriptKey(ts *testscript.TestScript, name string) *ecdsa.PrivateKey {
	if b, err := os.ReadFile(ts.MkAbs(name + ".pem")); err == nil {
		block, _ := pem.Decode(b)
		key, err := x509.ParseECPrivateKey(block.Bytes)
		ts.Check(err)
		return key
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	private, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(name+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))
	return key
}

// seen records that a device had digests: "seen DEVICE TEXT..."; the digest of TEXT is set as $TEXT.
func (o *online) seen(ts *testscript.TestScript, _ bool, args []string) {
	d, err := o.server.Store.Device(context.Background(), apitest.Tenant, apitest.ID(args[0]))
	ts.Check(err)
	evidence := []byte(strings.Join(args, " "))
	sum := sha256.Sum256(evidence)
	s := store.Seen{Content: sum, Kind: store.SeenBoot, Digests: []store.SeenDigest{}}
	for _, text := range args[1:] {
		digest := sha256.Sum256([]byte(text))
		ts.Setenv(text, hex.EncodeToString(digest[:]))
		s.Digests = append(s.Digests, store.SeenDigest{Digest: digest[:], Place: "PCR 4, " + hostile + text})
	}
	ts.Check(o.server.Store.Record(context.Background(), store.Outcome{
		Device: d, Evidence: evidence, EAR: "x", Seen: []store.Seen{s},
		Result: result.Result{Tenant: d.Tenant, Device: d.ID, Evidence: hex.EncodeToString(sum[:]), At: time.Now().UTC(), State: result.Trusted},
	}))
}

func TestDryRunTable(t *testing.T) {
	a := &app{output: "table"}
	var out strings.Builder
	d := &v1.DryRun{
		Devices: 3, Unjudged: 1, Supersedes: []string{"acme/r7/1"},
		Now:     map[result.State]int{result.Trusted: 2, result.Untrusted: 1},
		Overlap: map[result.State]int{result.Trusted: 3},
		After:   map[result.State]int{result.Trusted: 2, result.Untrusted: 1},
		Changes: []v1.DryRunDevice{
			{ID: strings.Repeat("a", 64), Label: "edge\x1b", Now: result.Trusted, Overlap: result.Trusted, After: result.Untrusted, Came: make([]result.Finding, 5)},
			{ID: strings.Repeat("b", 64), Now: result.Untrusted, Overlap: result.Trusted, After: result.Trusted, Went: []result.Finding{{Code: "boot-event-changed", Component: "PCR 4"}}},
			{ID: strings.Repeat("c", 64), Problem: "it never attested"},
		},
		Left: 7,
	}
	if err := a.writeDryRun(&out, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"trusted      2    3        2\n", "untrusted    1    0        1\n", "3 devices appraised, 1 cannot be; it would supersede: acme/r7/1",
		"aaaaaaaaaaaa  edge\\x1b  trusted    trusted  untrusted  + ; + ; + ; +2 more", "-boot-event-changed PCR 4", "cannot be judged: it never attested",
		"and 7 more",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, out.String())
		}
	}
	if !fails(d) {
		t.Error("a device loses its trust and nothing fails")
	}
	d.Changes = d.Changes[1:]
	if fails(d) {
		t.Error("no device loses its trust and the dry run fails")
	}
}

func TestOutliersTable(t *testing.T) {
	a := &app{output: "table"}
	var out strings.Builder
	found := &v1.Outliers{Groups: []v1.OutlierGroup{
		{Vendor: "Acme", Model: "R7\x1b", Firmware: "2.5.0", Devices: 40, Left: 2, Notes: []string{"3 components differ"}, Outliers: []v1.Outlier{{
			Component: "flash region bios", Expected: strings.Repeat("ab", 32), Observed: strings.Repeat("cd", 32), Most: 36, Of: 40, Count: 4,
			Devices: []v1.Candidate{{ID: strings.Repeat("a", 64), Label: "edge"}, {ID: strings.Repeat("b", 64)}, {ID: strings.Repeat("c", 64)}, {ID: "d"}},
			Meaning: "4 of 40 devices measure something else",
		}}},
		{Vendor: "Acme", Model: "R8", Devices: 1, Notes: []string{"too few"}},
	}}
	if err := a.writeOutliers(&out, found); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Acme R7\x1b 2.5.0: 40 devices, 3 outliers`, "note: 3 components differ", "4 of 40", "edge, bbbbbbbbbbbb, cccccccccccc and 1 more",
		"4 of 40 devices measure something else", "Acme R8 : 1 devices, 0 outliers", "too few",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestParseMoment(t *testing.T) {
	for s, want := range map[string]string{"2026-03-01": "2026-03-01T00:00:00Z", "2026-03-01T12:00:00+02:00": "2026-03-01T10:00:00Z"} {
		if got, err := parseMoment(s); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("parseMoment(%q) = %v, %v, want %s", s, got, err, want)
		}
	}
	if got, err := parseMoment(""); got != nil || err != nil {
		t.Errorf("parseMoment of nothing = %v, %v", got, err)
	}
	for _, s := range []string{"yesterday", "2026", "2026-03-01 12:00"} {
		if got, err := parseMoment(s); err == nil || got != nil {
			t.Errorf("parseMoment(%q) = %v, %v, want an error", s, got, err)
		}
	}
}
