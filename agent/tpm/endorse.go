package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/proto"
)

// endorsementKey is how to get at the EK again: by its persistent handle or by making it.
type endorsementKey struct {
	profile    EndorsementProfile
	template   tpm2.TPMTPublic
	name       tpm2.TPM2BName
	persistent tpm2.TPMHandle // 0: make it from template
}

// findEndorsement chooses the EK: the first of EndorsementProfiles with a certificate in NV that is for the key, else
// P-256, else RSA-2048 of the low range.
func (t *TPM) findEndorsement() error {
	found, err := t.indices()
	if err != nil {
		return err
	}
	var notes []string
	for _, p := range EndorsementProfiles {
		if !found[p.Certificate] {
			continue
		}
		der, err := t.certificate(p.Certificate)
		if err != nil {
			notes = append(notes, err.Error())
			continue
		}
		if err := t.useCertified(p, der, found); err != nil {
			notes = append(notes, fmt.Sprintf("certificate in NV index %#x: %v", p.Certificate, err))
			continue
		}
		chain, err := t.chain(found)
		if err != nil {
			notes = append(notes, err.Error())
		}
		t.endorsement.Certificates = append([][]byte{der}, chain...)
		t.endorsement.Notes = notes
		return nil
	}
	for _, i := range []int{0, 3} { // L-2, L-1
		p := EndorsementProfiles[i]
		if p.Public.Type == tpm2.TPMAlgECC && !t.hasECC {
			continue
		}
		if err = t.useTemplate(p, t.template(p, found), nil); err == nil {
			t.endorsement.Notes = notes
			return nil
		}
	}
	return fmt.Errorf("make the endorsement key: %w", err)
}

func (t *TPM) certificate(index uint32) ([]byte, error) {
	b, err := t.readIndex(index)
	if err != nil {
		return nil, err
	}
	der, _, err := cutDER(b)
	if err != nil {
		return nil, fmt.Errorf("certificate in NV index %#x: %w", index, err)
	}
	return der, nil
}

// chain reads the certificates that makers put after one another into the indices of the chain (section 2.2.1.5.2),
// as many as a hello may carry.
func (t *TPM) chain(found map[uint32]bool) ([][]byte, error) {
	var all []byte
	for i := uint32(firstChain); i <= lastChain && len(all) < maxChain; i++ {
		if !found[i] {
			continue
		}
		b, err := t.readIndex(i)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	var out [][]byte
	for len(all) > 0 && len(out) < proto.MaxCertificates-1 {
		der, rest, err := cutDER(all)
		if err != nil {
			break // padding
		}
		all = rest
		if len(der) <= proto.MaxCertificate {
			out = append(out, der)
		}
	}
	return out, nil
}

// useCertified takes the key that the certificate is for: the persistent one, one made with the nonce or template in
// NV, or one made from the profile's template.
func (t *TPM) useCertified(p EndorsementProfile, der []byte, found map[uint32]bool) error {
	want := certifiedKey(der)
	if want != nil {
		rsp, err := tpm2.ReadPublic{ObjectHandle: p.Persistent}.Execute(t.dev)
		if err == nil && sameTemplate(rsp.OutPublic.Bytes(), p.Public) && isKey(rsp.OutPublic.Bytes(), want) {
			t.setEndorsement(p, p.Public, rsp.OutPublic.Bytes(), rsp.Name)
			t.ek.persistent = p.Persistent
			return nil
		}
	}
	special := t.template(p, found)
	err := t.useTemplate(p, special, want)
	if errors.Is(err, errOtherKey) && !bytes.Equal(tpm2.Marshal(special), tpm2.Marshal(p.Public)) {
		return t.useTemplate(p, p.Public, want)
	}
	return err
}

var errOtherKey = errors.New("it is for another key than the TPM makes")

// useTemplate makes the key and takes it if want, where known, is its public key.
func (t *TPM) useTemplate(p EndorsementProfile, template tpm2.TPMTPublic, want publicKey) error {
	rsp, err := t.createEndorsement(p.Name, template)
	if err != nil {
		return err
	}
	if _, err := (tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}).Execute(t.dev); err != nil {
		return explain("flush endorsement key", err)
	}
	public := rsp.OutPublic.Bytes()
	if want != nil && !isKey(public, want) {
		return errOtherKey
	}
	t.setEndorsement(p, template, public, rsp.Name)
	if got, err := (tpm2.ReadPublic{ObjectHandle: p.Persistent}).Execute(t.dev); err == nil &&
		bytes.Equal(got.Name.Buffer, rsp.Name.Buffer) {
		t.ek.persistent = p.Persistent // saves making an RSA key at each activation
	}
	return nil
}

func (t *TPM) createEndorsement(name string, template tpm2.TPMTPublic) (*tpm2.CreatePrimaryResponse, error) {
	cmd := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
	}
	rsp, err := cmd.Execute(t.dev)
	if full(err) {
		t.makeRoom()
		rsp, err = cmd.Execute(t.dev)
	}
	if err != nil {
		return nil, explain("create endorsement key "+name, err)
	}
	return rsp, nil
}

func (t *TPM) setEndorsement(p EndorsementProfile, template tpm2.TPMTPublic, public []byte, name tpm2.TPM2BName) {
	t.ek = endorsementKey{profile: p, template: template, name: name}
	t.endorsement = Endorsement{Public: bytes.Clone(public), Profile: p.Name}
}

// template returns the profile's template with the unique field that NV asks for: that of the template index, then the
// nonce (section 2.2.1.4). A template that differs in anything else is not an endorsement key as the verifier
// wants it, and is not used.
func (t *TPM) template(p EndorsementProfile, found map[uint32]bool) tpm2.TPMTPublic {
	out := p.Public
	if p.Template != 0 && found[p.Template] {
		if b, err := t.readIndex(p.Template); err == nil && sameTemplate(b, p.Public) {
			if parsed, err := tpm2.Unmarshal[tpm2.TPMTPublic](b); err == nil {
				out = *parsed
			}
		}
	}
	if p.Nonce == 0 || !found[p.Nonce] {
		return out
	}
	nonce, err := t.readIndex(p.Nonce)
	if err != nil {
		return out
	}
	return withNonce(out, nonce)
}

// withNonce puts the nonce at the start of the unique field, zeros behind it (section B.2).
func withNonce(template tpm2.TPMTPublic, nonce []byte) tpm2.TPMTPublic {
	switch template.Type {
	case tpm2.TPMAlgRSA:
		if len(nonce) > 256 {
			return template
		}
		b := append(slices.Clone(nonce), make([]byte, 256-len(nonce))...)
		template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: b})
	case tpm2.TPMAlgECC:
		if len(nonce) > 32 {
			return template
		}
		b := append(slices.Clone(nonce), make([]byte, 32-len(nonce))...)
		template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: b}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
		})
	}
	return template
}

// sameTemplate reports whether a TPMT_PUBLIC differs from the template in nothing but its unique field.
func sameTemplate(public []byte, template tpm2.TPMTPublic) bool {
	p, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil || p.Type != template.Type {
		return false
	}
	rest := *p
	rest.Unique = template.Unique
	return bytes.Equal(tpm2.Marshal(rest), tpm2.Marshal(template))
}
