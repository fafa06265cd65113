package world

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"

	"github.com/probity-attest/probity/firmware/manifest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// Vendor is a vendor with a key of its own.
type Vendor struct {
	Key *ecdsa.PrivateKey
	ID  string // of the key

	w *World
}

// AddVendor lets a new key speak for models of a vendor.
func (w *World) AddVendor(name string, models ...string) *Vendor {
	w.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		w.tb.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		w.tb.Fatal(err)
	}
	in := v1.NewVendorKey{
		Name: name, Role: "vendor", Public: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		Scope: v1.KeyScope{Vendors: []string{name}, Models: models},
	}
	var k v1.VendorKey
	w.Must(http.MethodPost, "/v1/vendors", in, &k)
	return &Vendor{w: w, Key: key, ID: k.ID}
}

// Sign returns a manifest with the vendor's signature.
func (v *Vendor) Sign(m *manifest.Manifest) []byte {
	v.w.tb.Helper()
	unsigned, err := manifest.Encode(m)
	if err != nil {
		v.w.tb.Fatal(err)
	}
	signed, err := manifest.Sign(unsigned, v.Key, manifest.Meta{Issuer: "https://vendor.example"})
	if err != nil {
		v.w.tb.Fatal(err)
	}
	return signed
}

// Submit signs a manifest and puts it in force.
func (v *Vendor) Submit(m *manifest.Manifest) v1.Manifest {
	v.w.tb.Helper()
	var out v1.Manifest
	if err := v.w.Upload("/v1/manifests", v.Sign(m), &out); err != nil {
		v.w.tb.Fatal(err)
	}
	return out
}

// Upload sends a document as it is, as the operator.
func (w *World) Upload(path string, document []byte, into any) error {
	req, err := http.NewRequestWithContext(w.tb.Context(), http.MethodPost, w.URL+path, bytes.NewReader(document))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.Operator)
	req.Header.Set("Content-Type", "application/cose")
	res, err := w.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s: %s: %s", path, res.Status, b)
	}
	return json.Unmarshal(b, into)
}
