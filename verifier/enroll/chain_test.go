package enroll_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func empty(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChain spoils EK certificates and chains one by one: none is certified, and each reason is told.
func TestChain(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	s := tpmtest.Start(t, tpmtest.Options{})
	tr := s.Transport(t)
	oid := func(n ...int) asn1.ObjectIdentifier { return n }
	for _, tc := range []struct {
		name   string
		by     *tpmtest.CA
		change func(*x509.Certificate)
		chain  func(own []byte) [][]byte // zero: own and intermediate
		roots  func(dir string) error    // zero: ca's root
		want   string                    // in the event; zero: certified
	}{
		{name: "good"},
		{name: "no certificate", chain: func([]byte) [][]byte { return nil }, want: "-"},
		{name: "root unknown", roots: func(string) error { return nil }, want: "unknown authority"},
		{name: "another maker's", by: foreign, want: "unknown authority"},
		{name: "intermediate missing", chain: func(own []byte) [][]byte { return [][]byte{own} }, want: "unknown authority"},
		{
			name: "intermediate in the folder", chain: func(own []byte) [][]byte { return [][]byte{own} },
			roots: func(dir string) error { _ = ca.WriteRoot(dir); return ca.WriteIntermediate(dir) },
		},
		{name: "intermediate is no root", roots: ca.WriteIntermediate, want: "unknown authority"},
		{
			name: "root only from the device", roots: func(string) error { return nil },
			chain: func(own []byte) [][]byte { return [][]byte{own, ca.Intermediate.Raw, ca.Root.Raw} }, want: "unknown authority",
		},
		{
			name:  "rubbish in the chain",
			chain: func(own []byte) [][]byte { return [][]byte{own, {1, 2, 3}, own, ca.Intermediate.Raw} },
		},
		{name: "expired", change: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, want: "expired"},
		{name: "not yet valid", change: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, want: "not yet valid"},
		{name: "no usage", change: func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }, want: "tcg-kp-EKCertificate"},
		{
			name:   "other usage",
			change: func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oid(2, 23, 133, 8, 3)} },
			want:   "tcg-kp-EKCertificate",
		},
		{
			name: "usage beside others", change: func(c *x509.Certificate) {
				c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, oid(1, 3, 6, 1, 4, 1, 311, 21, 36))
			},
		},
		{name: "a CA's", change: func(c *x509.Certificate) { c.IsCA = true }, want: "is a CA's"},
		{
			name: "unknown critical extension", change: func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid(1, 2, 3), Critical: true, Value: []byte{5, 0}})
			}, want: "unhandled critical extension",
		},
		{name: "no subject alternative name", change: func(c *x509.Certificate) { c.ExtraExtensions = nil }},
		{name: "signature spoilt", chain: func(own []byte) [][]byte {
			bad := bytes.Clone(own)
			bad[len(bad)-1] ^= 1
			return [][]byte{bad, ca.Intermediate.Raw}
		}, want: "unknown authority"},
		{name: "not a certificate", chain: func([]byte) [][]byte { return [][]byte{{0x30, 0}} }, want: "malformed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			by := tc.by
			if by == nil {
				by = ca
			}
			if err := tpmtest.ManufactureWith(tr, by, tpmtest.P256, tc.change); err != nil {
				t.Fatal(err)
			}
			v := newVerifier(t, nil)
			if tc.roots == nil {
				tc.roots = ca.WriteRoot
			}
			if err := tc.roots(v.roots); err != nil {
				t.Fatal(err)
			}
			d := deviceOf(t, s, func(h *proto.Hello) {
				own := h.EKCertificates[0]
				h.EKCertificates = [][]byte{own, by.Intermediate.Raw}
				if tc.chain != nil {
					h.EKCertificates = tc.chain(own)
				}
			})
			down := d.enroll(t, v, v.token(t, 1))
			if tc.want == "" {
				wantEnrolled(t, v, d, down, result.Certified)
				return
			}
			if down.Pending == nil {
				t.Fatalf("%s, want pending", show(down))
			}
			if rec, _ := v.store.device(tenant, d.DeviceID()); rec.Status != store.Pending || rec.EKIssuer != "" {
				t.Errorf("record = %+v", rec)
			}
			told := false
			for _, e := range v.store.events {
				told = told || e.Kind == enroll.EventUnverified && strings.Contains(e.Detail, tc.want)
			}
			if told == (tc.want == "-") {
				t.Errorf("events = %+v, want the reason %q", v.store.events, tc.want)
			}
		})
	}
}

// TestCertificateOfAnotherKey: no TPM holds a certificate of another TPM's key.
func TestCertificateOfAnotherKey(t *testing.T) {
	ca := newCA(t)
	v := newVerifier(t, firstUse)
	if err := ca.WriteRoot(v.roots); err != nil {
		t.Fatal(err)
	}
	victim := newDevice(t, ca)
	s := tpmtest.Start(t, tpmtest.Options{})
	liar := deviceOf(t, s, func(h *proto.Hello) { h.EKCertificates = victim.Endorsement().Certificates })
	wantCode(t, "another's certificate", liar.enroll(t, v, v.token(t, 1)), enroll.CodeCertificate)
	if len(v.store.devices) != 0 {
		t.Error("the liar was recorded")
	}
}

// TestRootsFolder: operators add and remove certificates while the verifier runs.
func TestRootsFolder(t *testing.T) {
	a, b := newCA(t), newCA(t)
	v := newVerifier(t, nil)
	put := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(v.roots, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names := func() []string {
		n, _, err := v.Roots()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := names(); len(n) != 0 {
		t.Errorf("empty folder: roots %v", n)
	}
	block := func(c *x509.Certificate) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	put("a.der", a.Root.Raw)
	if n := names(); len(n) != 1 {
		t.Errorf("one root in DER: %v", n)
	}
	bundle := append([]byte("# a comment\n"), block(b.Root)...)
	put("all.PEM", append(append(bundle, block(b.Intermediate)...), block(a.Root)...))
	put("notes.txt", []byte("not read"))
	put("broken.pem", []byte("-----BEGIN CERTIFICATE-----\nxx"))
	put("rubbish.crt", []byte{1, 2, 3})
	leaf, err := a.Certify(a.Root.PublicKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	put("leaf.cer", leaf)
	n, problems, err := v.Roots()
	if err != nil || len(n) != 3 || len(problems) != 3 {
		t.Errorf("Roots = %v, problems %v, %v, want 3 and 3", n, problems, err)
	}
	d := newDevice(t, b)
	wantEnrolled(t, v, d, d.enroll(t, v, v.token(t, 1)), result.Certified)

	// The folder vanishes for a moment: what was read stays in force.
	if err := os.Rename(v.roots, v.roots+".away"); err != nil {
		t.Fatal(err)
	}
	wantEnrolled(t, v, d, d.enroll(t, v, ""), result.Certified)
	if err := os.Rename(v.roots+".away", v.roots); err != nil {
		t.Fatal(err)
	}
	empty(t, v.roots)
	if n := names(); len(n) != 0 {
		t.Errorf("emptied folder: roots %v", n)
	}
	if _, err := enroll.New(enroll.Config{
		Store: v.store, Issuer: v.authority, Keys: keys(t), Roots: filepath.Join(v.roots, "none"),
	}); err == nil {
		t.Error("New with a folder that does not exist passed")
	}
}
