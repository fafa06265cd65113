package fleet

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/shipment"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// signer is somebody who signs manifests.
type signer struct {
	name string
	key  crypto.Signer
	id   string // of the key, once it was added
}

func newSigner(t testing.TB, name string) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{name: name, key: key}
}

// public returns the key as operators get it.
func (s *signer) public(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (s *signer) sign(t testing.TB, m *manifest.Manifest, meta ...manifest.Meta) []byte {
	t.Helper()
	unsigned, err := manifest.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	about := manifest.Meta{Issuer: s.name}
	if len(meta) > 0 {
		about = meta[0]
		about.Issuer = s.name
	}
	signed, err := manifest.Sign(unsigned, s.key, about)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// admit lets a new key sign.
func (r *rig) admit(name, role string, scope KeyScope) *signer {
	r.Helper()
	s := newSigner(r, name)
	k, err := r.AddVendorKey(r.Context(), tenant, VendorKeySpec{Name: name, Role: role, Public: s.public(r), KeyScope: scope}, "alice")
	if err != nil {
		r.Fatal(err)
	}
	s.id = k.ID
	return s
}

// vendor lets Acme sign for its own models.
func (r *rig) vendor() *signer {
	return r.admit("Acme", "vendor", KeyScope{Vendors: []string{"acme"}, Models: []string{"R*"}})
}

func (r *rig) submit(signed []byte) (store.Manifest, error) {
	return r.SubmitManifest(r.Context(), tenant, Submission{Signed: signed}, "bob")
}

func (r *rig) mustSubmit(signed []byte) store.Manifest {
	r.Helper()
	m, err := r.submit(signed)
	if err != nil {
		r.Fatal(err)
	}
	return m
}

// released returns a manifest of what a device booted and runs.
func released(t testing.TB, version string, log, list []byte) *manifest.Manifest {
	t.Helper()
	m, _, err := shipment.Build(t.Context(), shipment.Input{
		About: manifest.Manifest{ID: "acme/r7/" + version, Vendor: "Acme", Model: "R7", Version: version},
		Logs:  []shipment.Log{{Name: "golden", Content: log}},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for s := ima.NewScanner(list); s.Scan(); {
		e := s.Entry()
		f, ok := e.File()
		if key := f.Path + string(f.Digest); !ok || f.Path == ima.BootAggregatePath || len(f.Digest) != sha256.Size || seen[key] {
			continue
		} else {
			seen[key] = true
		}
		m.Files = append(m.Files, manifest.File{Path: f.Path, Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: bytes.Clone(f.Digest)}})
	}
	m.Files = manifest.SortFiles(m.Files)
	return m
}

// updated is the boot log of the next version: another boot loader.
func updated(t testing.TB) []byte {
	t.Helper()
	log, err := eventlogtest.Remeasure(fixture(t, "eventlogs", "grub-secure-boot"), eventlogtest.BootLoader, nil)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func (r *rig) oldRelease() *manifest.Manifest {
	return released(r, "2.4.1", fixture(r, "eventlogs", "grub-secure-boot"), fixture(r, "ima", "grub-secure-boot"))
}

func (r *rig) newRelease() *manifest.Manifest {
	m := released(r, "2.5.0", updated(r), fixture(r, "ima", "grub-secure-boot"))
	m.Supersedes = []manifest.Supersession{{ID: "acme/r7/2.4.1", Until: r.clock.Now().Add(48 * time.Hour).Truncate(time.Second)}}
	return m
}

// next returns an enrolled device that runs the next version.
func (r *rig) next() *device {
	r.Helper()
	list := fixture(r, "ima", "grub-secure-boot")
	d, err := appraisetest.New(updated(r), list[split(r.T, list, 1):]) // without boot_aggregate, which is of another boot
	if err != nil {
		r.Fatal(err)
	}
	return r.enrolled(d, result.Certified)
}

// refusedBecause checks that an error is a refusal that says this.
func refusedBecause(t testing.TB, what string, err error, says string) {
	t.Helper()
	var told *RefusedError
	if !errors.As(err, &told) || !strings.Contains(told.Reason, says) {
		t.Errorf("%s: %v, want a refusal that says %q", what, err, says)
	}
}

// TestManifestLife: a manifest makes a device trusted that nobody ever took for golden; the next version supersedes it
// with an overlap, after which the old one no longer counts.
func TestManifestLife(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	old, next := r.healthy(), r.next()
	old.attest(result.Unsupported)
	next.attest(result.Unsupported)
	r.sender.all = nil
	m := r.mustSubmit(acme.sign(t, r.oldRelease()))
	if m.State(r.clock.Now()) != store.ManifestActive || m.Name != "acme/r7/2.4.1" || len(m.Endorsements) != 1 {
		t.Errorf("manifest = %+v, want it active with one endorsement", m)
	}
	if got := len(r.sender.take(old.ID, proto.DownChallenge)); got != 1 {
		t.Errorf("the device got %d challenges after the submission, want 1", got)
	}
	old.attest(result.Trusted)
	next.attest(result.Untrusted)
	if got := old.results()[0].Result.References; len(got) != 1 || got[0] != "acme/r7/2.4.1" {
		t.Errorf("references = %q", got)
	}

	update := acme.sign(t, r.newRelease())
	newer := r.mustSubmit(update)
	superseded, err := r.ManifestStatus(t.Context(), tenant, "acme/r7/2.4.1")
	if err != nil || superseded.State != "superseded" || !superseded.Counts || superseded.SupersededBy != newer.Name {
		t.Errorf("old manifest = %+v, %v, want it superseded and valid until the overlap ends", superseded, err)
	}
	old.attest(result.Trusted)
	next.attest(result.Trusted)
	r.clock.advance(49 * time.Hour)
	if got := old.attest(result.Warning); len(got.Reasons) == 0 || !strings.Contains(got.Reasons[0], "2.4.1") {
		t.Errorf("reasons after the overlap = %q, want the old version named", got.Reasons)
	}
	next.attest(result.Trusted)

	// A restart changes nothing, and what is stored is verified anew.
	r.restart()
	next.attest(result.Trusted)
	old.attest(result.Warning)
	if _, err := r.WithdrawManifest(t.Context(), tenant, "acme/r7/2.5.0", "built from the wrong branch", "alice"); err != nil {
		t.Fatal(err)
	}
	next.attest(result.Untrusted)
	_, err = r.submit(update)
	refusedBecause(t, "submitted again after its withdrawal", err, "was withdrawn")
	for kind, want := range map[string]int{"manifest-submitted": 2, "manifest-changed": 1, "manifest-withdrawn": 1, "vendor-key-added": 1} {
		if got := r.events("", kind); len(got) != want {
			t.Errorf("%d events %s, want %d: %q", len(got), kind, want, got)
		}
	}
}

// TestRefusedManifests: rows 33, 34 and 36 of ATTACKS: what is refused says why and changes nothing.
func TestRefusedManifests(t *testing.T) {
	r := newRig(t)
	now := r.clock.Now()
	acme := r.vendor()
	rival := r.admit("Rival", "vendor", KeyScope{Vendors: []string{"Rival"}})
	early := r.admit("Early", "lab", KeyScope{Vendors: []string{"*"}, From: now.Add(time.Hour)})
	late := r.admit("Late", "lab", KeyScope{Vendors: []string{"*"}, Until: now})
	stolen := r.admit("Stolen", "lab", KeyScope{Vendors: []string{"*"}})
	if _, err := r.RevokeVendorKey(t.Context(), tenant, stolen.id, time.Time{}, "stolen", "alice"); err != nil {
		t.Fatal(err)
	}
	d := r.healthy()
	d.attest(result.Unsupported)
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	d.attest(result.Trusted)
	with := func(change func(*manifest.Manifest)) *manifest.Manifest {
		m := r.newRelease()
		m.Supersedes = nil
		change(m)
		return m
	}
	plain := with(func(*manifest.Manifest) {})
	good := acme.sign(t, plain)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		signed []byte
		says   string
	}{
		"vendor B signs for vendor A's model": {rival.sign(t, plain), "may not speak for vendor \"Acme\", model \"R7\""},
		"model out of scope":                  {acme.sign(t, with(func(m *manifest.Manifest) { m.Model = "X1" })), "may not speak for"},
		"unknown key":                         {newSigner(t, "Acme").sign(t, plain), "probity vendor add"},
		"revoked key":                         {stolen.sign(t, plain), "was revoked"},
		"key not yet valid":                   {early.sign(t, plain), "it is valid from"},
		"key that ended":                      {late.sign(t, plain), "it was valid until"},
		"expired manifest": {acme.sign(t, with(func(m *manifest.Manifest) {
			m.NotBefore, m.NotAfter = now.Add(-48*time.Hour), now.Add(-time.Hour)
		})), "has expired"},
		"expired signature":  {acme.sign(t, plain, manifest.Meta{NotAfter: now.Add(-time.Hour)}), "has expired"},
		"far in the future":  {acme.sign(t, plain, manifest.Meta{NotBefore: now.Add(90 * 24 * time.Hour)}), "is not yet valid"},
		"another content":    {acme.sign(t, with(func(m *manifest.Manifest) { m.ID = "acme/r7/2.4.1" })), "needs a new id"},
		"cut":                {good[:len(good)/2], "manifest"},
		"changed":            {flipped, "manifest"},
		"empty":              {nil, "manifest"},
		"not signed":         {mustEncode(t, plain), "not signed"},
		"unsigned extra":     {append(bytes.Clone(good), 0), "manifest"},
		"no profile at all":  {[]byte{0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40}, "manifest"},
		"giant":              {make([]byte, manifest.MaxSize+1), "manifest"},
		"wide-open denylist": {acme.sign(t, &manifest.Manifest{ID: "a", Advisory: "CVE-1", Denied: denied("x")}), "any vendor"},
	} {
		_, err := r.submit(c.signed)
		refusedBecause(t, name, err, c.says)
	}
	all, err := r.store.Manifests(t.Context(), tenant)
	if err != nil || len(all) != 1 {
		t.Errorf("%d manifests after refusals, %v, want the one from before", len(all), err)
	}
	d.attest(result.Trusted)
}

func mustEncode(t testing.TB, m *manifest.Manifest) []byte {
	t.Helper()
	b, err := manifest.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func denied(of ...string) (out []manifest.Denial) {
	for _, s := range of {
		sum := sha256.Sum256([]byte(s))
		out = append(out, manifest.Denial{Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: sum[:]}}, Note: s})
	}
	return out
}

// TestEarlyManifest: a manifest that is submitted before its time counts from then on.
func TestEarlyManifest(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	d := r.healthy()
	d.attest(result.Unsupported)
	m := r.oldRelease()
	m.NotBefore, m.NotAfter = r.clock.Now().Add(24*time.Hour), r.clock.Now().Add(240*time.Hour)
	got := r.mustSubmit(acme.sign(t, m, manifest.Meta{NotBefore: m.NotBefore.Add(time.Hour)}))
	if got.State(r.clock.Now()) != store.ManifestSubmitted || !got.From.Equal(m.NotBefore.Add(time.Hour)) {
		t.Errorf("manifest = %s from %s, want it submitted, to count when the signature begins", got.State(r.clock.Now()), got.From)
	}
	if d.attest(result.Warning); d.results()[0].Result.State == result.Trusted {
		t.Error("the manifest counts before its time")
	}
	r.clock.advance(26 * time.Hour)
	d.attest(result.Trusted)
	r.clock.advance(300 * time.Hour)
	if r := d.attest(result.Warning); !strings.Contains(strings.Join(r.Reasons, "\n"), "2.4.1") {
		t.Errorf("reasons = %q, want the expired release named", r.Reasons)
	}
}

// TestEndorsers: signatures of the same content add up, submitting again changes nothing, and a signature that lasts
// longer takes the place of the older one.
func TestEndorsers(t *testing.T) {
	r := newRig(t)
	acme, lab := r.vendor(), r.admit("Lab", "lab", KeyScope{Vendors: []string{"*"}})
	m := r.oldRelease()
	end := r.clock.Now().Add(10 * time.Hour)
	first := acme.sign(t, m, manifest.Meta{NotAfter: end})
	one := r.mustSubmit(first)
	again := r.mustSubmit(first)
	if len(again.Endorsements) != 1 || !again.Submitted.Equal(one.Submitted) || len(r.events("", "manifest-submitted")) != 1 {
		t.Errorf("submitted twice: %+v with %d events, want no change", again, len(r.events("", "manifest-submitted")))
	}
	both := r.mustSubmit(lab.sign(t, m))
	if len(both.Endorsements) != 2 || both.Digest != one.Digest {
		t.Errorf("with the lab's: %+v, want two endorsements of one content", both)
	}
	set, err := r.references.set(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.For("acme", "r7").At(r.clock.Now()).Alternatives(); len(got) != 1 || got[0].Endorsers() != "Acme (vendor), Lab (lab)" {
		t.Errorf("%d documents, endorsed by %q", len(got), got[0].Endorsers())
	}
	longer := r.mustSubmit(acme.sign(t, m, manifest.Meta{NotAfter: end.Add(time.Hour)}))
	if len(longer.Endorsements) != 2 || !longer.Endorsements[0].Ends.Equal(end.Add(time.Hour)) {
		t.Errorf("signed for longer: %+v", longer.Endorsements)
	}
	r.clock.advance(12 * time.Hour)
	status, err := r.ManifestStatus(t.Context(), tenant, "acme/r7/2.4.1")
	if err != nil || status.Endorsers[0].Void == "" || status.Endorsers[1].Void != "" || !status.Counts {
		t.Errorf("after one signature's end: %+v, %v, want the lab's alone to count", status, err)
	}
}

// TestSupersede: an operator supersedes with an overlap of his own.
func TestSupersede(t *testing.T) {
	r := newRig(t)
	acme, lab := r.vendor(), r.admit("Lab", "lab", KeyScope{Vendors: []string{"*"}})
	old, next := r.healthy(), r.next()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	m := r.newRelease()
	r.mustSubmit(lab.sign(t, m)) // a lab's word doesn't supersede what a vendor published
	if got, err := r.Manifest(t.Context(), tenant, "acme/r7/2.4.1"); err != nil || got.SupersededBy != "" {
		t.Errorf("after the lab's submission: %+v, %v", got, err)
	}
	for name, c := range map[string]struct {
		older, newer string
		overlap      time.Duration
		says         string
	}{
		"itself":           {"acme/r7/2.4.1", "acme/r7/2.4.1", 0, "itself"},
		"negative overlap": {"acme/r7/2.4.1", "acme/r7/2.5.0", -1, "overlap"},
		"endless overlap":  {"acme/r7/2.4.1", "acme/r7/2.5.0", maxOverlap + 1, "overlap"},
	} {
		_, err := r.SupersedeManifest(t.Context(), tenant, c.older, c.newer, c.overlap, "alice")
		refusedBecause(t, name, err, c.says)
	}
	if _, err := r.SupersedeManifest(t.Context(), tenant, "none", "acme/r7/2.5.0", 0, "alice"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("superseding nothing: %v", err)
	}
	got, err := r.SupersedeManifest(t.Context(), tenant, "acme/r7/2.4.1", "Acme:acme/r7/2.5.0", time.Hour, "alice")
	if err != nil || !got.Until.Equal(r.clock.Now().Add(time.Hour)) {
		t.Errorf("superseded until %s, %v", got.Until, err)
	}
	old.attest(result.Trusted)
	next.attest(result.Trusted)
	r.clock.advance(2 * time.Hour)
	old.attest(result.Warning)
	next.attest(result.Trusted)
}

// TestLogProof: the refusal part of row 30.
func TestLogProof(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	signed := acme.sign(t, r.oldRelease())
	if err := r.RequireLogProof(t.Context(), tenant, true, "alice"); err != nil {
		t.Fatal(err)
	}
	_, err := r.submit(signed)
	refusedBecause(t, "no proof", err, "only with a proof")
	_, err = r.SubmitManifest(t.Context(), tenant, Submission{Signed: signed, Proof: []byte("trust me")}, "bob")
	refusedBecause(t, "a proof that nobody can check", err, "cannot be checked")
	if err := r.RequireLogProof(t.Context(), tenant, false, "alice"); err != nil {
		t.Fatal(err)
	}
	_, err = r.SubmitManifest(t.Context(), tenant, Submission{Signed: signed, Proof: make([]byte, maxProof+1)}, "bob")
	refusedBecause(t, "a giant proof", err, "at most")
	m, err := r.SubmitManifest(t.Context(), tenant, Submission{Signed: signed, Proof: []byte("kept")}, "bob")
	if err != nil || string(m.Proof) != "kept" {
		t.Errorf("manifest with a proof = %q, %v", m.Proof, err)
	}
}
