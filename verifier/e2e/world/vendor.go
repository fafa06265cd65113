package world

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"net/http"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/shipment"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
)

// Signer signs manifests with a key that may speak for models of a vendor.
type Signer struct {
	Key *ecdsa.PrivateKey
	ID  string // of the key

	by *Operator
}

// AddSigner makes a key and lets it speak for models of a vendor, which are patterns.
func (o *Operator) AddSigner(ctx context.Context, name string, models ...string) (*Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	in := v1.NewVendorKey{
		Name: name, Role: "vendor", Public: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		Scope: v1.KeyScope{Vendors: []string{name}, Models: models},
	}
	var k v1.VendorKey
	if err := o.Ask(ctx, http.MethodPost, "/v1/vendors", in, &k); err != nil {
		return nil, err
	}
	return &Signer{Key: key, ID: k.ID, by: o}, nil
}

// Sign returns a manifest with its signature.
func (s *Signer) Sign(m *manifest.Manifest) ([]byte, error) {
	unsigned, err := manifest.Encode(m)
	if err != nil {
		return nil, err
	}
	return manifest.Sign(unsigned, s.Key, manifest.Meta{Issuer: "https://vendor.example"})
}

// Submit signs a manifest and puts it in force.
func (s *Signer) Submit(ctx context.Context, m *manifest.Manifest) (out v1.Manifest, err error) {
	signed, err := s.Sign(m)
	if err != nil {
		return out, err
	}
	return out, s.by.Ask(ctx, http.MethodPost, "/v1/manifests", signed, &out)
}

// Vendor is a signer in a test: what it does must succeed.
type Vendor struct {
	*Signer

	w *World
}

// AddVendor lets a new key speak for models of a vendor.
func (w *World) AddVendor(name string, models ...string) *Vendor {
	w.tb.Helper()
	s, err := w.AddSigner(w.tb.Context(), name, models...)
	if err != nil {
		w.tb.Fatal(err)
	}
	return &Vendor{s, w}
}

// MustSign is Sign.
func (v *Vendor) MustSign(m *manifest.Manifest) []byte {
	v.w.tb.Helper()
	signed, err := v.Sign(m)
	if err != nil {
		v.w.tb.Fatal(err)
	}
	return signed
}

// MustSubmit is Submit.
func (v *Vendor) MustSubmit(m *manifest.Manifest) v1.Manifest {
	v.w.tb.Helper()
	out, err := v.Submit(v.w.tb.Context(), m)
	if err != nil {
		v.w.tb.Fatal(err)
	}
	return out
}

// MustRelease is Release, of Acme's R7.
func (w *World) MustRelease(version string, m virtual.Machine) *manifest.Manifest {
	w.tb.Helper()
	about := manifest.Manifest{ID: "acme/r7/" + version, Vendor: "Acme", Model: "R7", Version: version}
	out, err := Release(w.tb.Context(), &m, shipment.Input{About: about})
	if err != nil {
		w.tb.Fatal(err)
	}
	return out
}

// Release makes a manifest of what a captured machine boots and runs, and of what else a shipment has.
func Release(ctx context.Context, m *virtual.Machine, in shipment.Input) (*manifest.Manifest, error) {
	in.Logs = append(in.Logs, shipment.Log{Name: "factory", Content: m.Booted})
	out, _, err := shipment.Build(ctx, in)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for s := ima.NewScanner(m.IMA); s.Scan(); {
		f, ok := s.Entry().File()
		key := f.Path + string(f.Digest)
		if !ok || f.Path == ima.BootAggregatePath || len(f.Digest) != sha256.Size || seen[key] {
			continue
		}
		seen[key] = true
		out.Files = append(out.Files, manifest.File{Path: f.Path, Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: bytes.Clone(f.Digest)}})
	}
	out.Files = manifest.SortFiles(out.Files)
	return out, nil
}
