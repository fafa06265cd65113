package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"testing"

	"github.com/google/go-attestation/attest"
	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// checkKeys verifies AK, TLS key and credential activation with go-attestation, as a verifier does.
func checkKeys(t *testing.T, d *tpm.TPM) (ak, tls crypto.PublicKey) {
	t.Helper()
	akKey, err := d.AK()
	if err != nil {
		t.Fatalf("AK: %v", err)
	}
	p := attest.ActivationParameters{EK: public(t, d.Endorsement().Public), AK: attest.AttestationParameters{
		Public: akKey.Public, CreateData: akKey.CreationData, CreateAttestation: akKey.Attest, CreateSignature: akKey.Signature,
	}}
	if err := p.CheckAKParameters(); err != nil {
		t.Errorf("CheckAKParameters: %v", err)
	}
	ak = public(t, akKey.Public)
	tlsKey, err := d.TLSKey()
	if err != nil {
		t.Fatalf("TLSKey: %v", err)
	}
	c := attest.CertificationParameters{
		Public: tlsKey.Public, CreateData: tlsKey.CreationData, CreateAttestation: tlsKey.Attest, CreateSignature: tlsKey.Signature,
	}
	if err := c.Verify(attest.VerifyOpts{Public: ak, Hash: crypto.SHA256}); err != nil {
		t.Errorf("CertificationParameters.Verify: %v", err)
	}
	att, err := tpm2.Unmarshal[tpm2.TPMSAttest](tlsKey.Attest)
	if err != nil {
		t.Fatal(err)
	}
	if want := proto.TLSKeyQualifyingData(d.Endorsement().Public); !bytes.Equal(att.ExtraData.Buffer, want[:]) {
		t.Errorf("qualifying data of the TLS key = %x, want %x", att.ExtraData.Buffer, want)
	}
	checkActivation(t, d, akKey.Public)
	return ak, public(t, tlsKey.Public)
}

func checkActivation(t *testing.T, d *tpm.TPM, ak []byte) {
	t.Helper()
	secret := []byte("0123456789abcdef0123456789abcdef")
	id, enc := credential(t, d.Endorsement().Public, ak, secret)
	got, err := d.Activate(id, enc)
	if err != nil || !bytes.Equal(got, secret) {
		t.Errorf("Activate = %x, %v, want %x", got, err, secret)
	}
}

// credential wraps a secret for the TPM with ek and ak.
func credential(t *testing.T, ek, ak, secret []byte) (idObject, encrypted []byte) {
	t.Helper()
	akPublic, err := tpm2.Unmarshal[tpm2.TPMTPublic](ak)
	if err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.ObjectName(akPublic)
	if err != nil {
		t.Fatal(err)
	}
	ekPublic, err := tpm2.Unmarshal[tpm2.TPMTPublic](ek)
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.ImportEncapsulationKey(ekPublic)
	if err != nil {
		t.Fatal(err)
	}
	idObject, encrypted, err = tpm2.CreateCredential(randReader{}, key, name.Buffer, secret)
	if err != nil {
		t.Fatal(err)
	}
	return idObject, encrypted
}

func public(t *testing.T, raw []byte) crypto.PublicKey {
	t.Helper()
	p, err := tpm2.Unmarshal[tpm2.TPMTPublic](raw)
	if err != nil {
		t.Fatal(err)
	}
	k, err := tpm2.Pub(*p)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysAreTheTPMs(t *testing.T) {
	s, other := tpmtest.Start(t, tpmtest.Options{}), tpmtest.Start(t, tpmtest.Options{})
	d := s.TPM(t)
	ak, tls := checkKeys(t, d)
	id := d.DeviceID()
	if !proto.ValidDevice(id) {
		t.Errorf("DeviceID = %q", id)
	}
	for what, restart := range map[string]func() error{"power cycle": s.PowerCycle, "power loss": s.PowerLoss} {
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		again := s.TPM(t)
		ak2, tls2 := checkKeys(t, again)
		if again.DeviceID() != id || !equal(ak, ak2) || !equal(tls, tls2) {
			t.Errorf("other keys after a %s", what)
		}
	}
	if equal(ak, tls) {
		t.Error("AK and TLS key are the same key")
	}
	if foreign := other.TPM(t); foreign.DeviceID() == id {
		t.Error("two TPMs have the same id")
	}
}

func equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// TestWithoutCurves runs everything on a TPM that has RSA only.
func TestWithoutCurves(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	d := newTPM(t, &hook{TPM: s.Transport(t), before: hideCurves})
	if got := d.Endorsement().Profile; got != "RSA-2048 (L-1)" {
		t.Errorf("Profile = %s, want RSA-2048 (L-1)", got)
	}
	ak, tls := checkKeys(t, d)
	for what, k := range map[string]crypto.PublicKey{"AK": ak, "TLS key": tls} {
		if r, ok := k.(*rsa.PublicKey); !ok || r.N.BitLen() != 2048 {
			t.Errorf("%s is a %T, want RSA-2048", what, k)
		}
	}
	attested, sig, err := d.Quote(pcr.SHA256, pcr.Select(0, 7), []byte("nonce"))
	if err != nil {
		t.Fatal(err)
	}
	verifyQuote(t, ak, attested, sig)
	checkTLS(t, d)
}

func verifyQuote(t *testing.T, ak crypto.PublicKey, attested, signature []byte) {
	t.Helper()
	sig, err := tpm2.Unmarshal[tpm2.TPMTSignature](signature)
	if err != nil {
		t.Fatal(err)
	}
	h := crypto.SHA256.New()
	h.Write(attested)
	digest := h.Sum(nil)
	switch k := ak.(type) {
	case *ecdsa.PublicKey:
		s, err := sig.Signature.ECDSA()
		if err != nil {
			t.Fatal(err)
		}
		if !ecdsa.Verify(k, digest, number(s.SignatureR.Buffer), number(s.SignatureS.Buffer)) {
			t.Error("the quote's signature does not verify")
		}
	case *rsa.PublicKey:
		s, err := sig.Signature.RSASSA()
		if err != nil {
			t.Fatal(err)
		}
		if err := rsa.VerifyPKCS1v15(k, crypto.SHA256, digest, s.Sig.Buffer); err != nil {
			t.Errorf("the quote's signature: %v", err)
		}
	}
}

func TestActivateRefuses(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	d := s.TPM(t)
	ak, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	other, err := tpmtest.Start(t, tpmtest.Options{}).TPM(t).AK()
	if err != nil {
		t.Fatal(err)
	}
	id, enc := credential(t, d.Endorsement().Public, other.Public, make([]byte, 32))
	if got, err := d.Activate(id, enc); err == nil {
		t.Errorf("Activate of a credential for another AK = %x", got)
	}
	id, enc = credential(t, d.Endorsement().Public, ak.Public, make([]byte, 32))
	id[len(id)-1] ^= 1
	if got, err := d.Activate(id, enc); err == nil {
		t.Errorf("Activate of a changed credential = %x", got)
	}
	for _, b := range [][]byte{nil, {}, {1}, bytes.Repeat([]byte{0xff}, 600)} {
		if got, err := d.Activate(b, b); err == nil {
			t.Errorf("Activate(%d bytes) = %x", len(b), got)
		}
	}
	checkActivation(t, d, ak.Public) // and nothing is left behind that prevents the next
	if n := loaded(t, s.Transport(t)); n > 2 {
		t.Errorf("%d transient objects are loaded, want at most 2", n)
	}
}
