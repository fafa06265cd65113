package tpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/proto"
)

// key is a signing primary of the endorsement hierarchy. Everything but handle is the same each time it is made.
type key struct {
	name     string // for people
	template tpm2.TPMTPublic

	handle   tpm2.TPMHandle // 0: not loaded
	public   []byte         // TPMT_PUBLIC
	tpmName  tpm2.TPM2BName
	creation creation
}

// creation is what TPM2_CreatePrimary says of how it made a key, and its ticket for TPM2_CertifyCreation.
type creation struct {
	data   []byte // TPMS_CREATION_DATA
	hash   tpm2.TPM2BDigest
	ticket tpm2.TPMTTKCreation
}

func (k *key) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: k.handle, Name: k.tpmName, Auth: tpm2.PasswordAuth(nil)}
}

// qualifiedName is nameAlg || H(TPM_RH_ENDORSEMENT || Name) (Part 1, section 16.7), as it stands in what the key signs.
func (k *key) qualifiedName() []byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMRHEndorsement)))
	h.Write(k.tpmName.Buffer)
	return h.Sum(binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMAlgSHA256)))
}

// create makes the key. That it is another than before means that the TPM's endorsement seed was replaced.
func (t *TPM) create(k *key) error {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(k.template),
	}.Execute(t.dev)
	if err != nil {
		return explain("create "+k.name, err)
	}
	public := rsp.OutPublic.Bytes()
	if k.public != nil && !bytes.Equal(public, k.public) {
		_, _ = tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}.Execute(t.dev)
		return fmt.Errorf("create %s: %w: its endorsement seed was replaced; restart the agent, which then is a new device",
			k.name, ErrChanged)
	}
	k.handle, k.public, k.tpmName = rsp.ObjectHandle, public, rsp.Name
	k.creation = creation{data: rsp.CreationData.Bytes(), hash: rsp.CreationHash, ticket: rsp.CreationTicket}
	return nil
}

// AK returns the attestation key with the proof, signed by itself, of how it was created (TPM2_CertifyCreation; Part 3,
// section 18.3).
func (t *TPM) AK() (proto.CertifiedKey, error) {
	var out proto.CertifiedKey
	err := t.with(func() error {
		rsp, err := tpm2.CertifyCreation{
			SignHandle:     t.ak.auth(),
			ObjectHandle:   tpm2.NamedHandle{Handle: t.ak.handle, Name: t.ak.tpmName},
			CreationHash:   t.ak.creation.hash,
			CreationTicket: t.ak.creation.ticket,
		}.Execute(t.dev)
		if err != nil {
			return explain("certify the creation of the attestation key", err)
		}
		out = proto.CertifiedKey{
			Public:       bytes.Clone(t.ak.public),
			CreationData: bytes.Clone(t.ak.creation.data),
			Attest:       rsp.CertifyInfo.Bytes(),
			Signature:    tpm2.Marshal(rsp.Signature),
		}
		return t.certifies(out.Attest, &t.ak)
	}, &t.ak)
	return out, err
}

// TLSKey returns the TLS key, certified by the AK (TPM2_Certify; Part 3, section 18.2) with
// proto.TLSKeyQualifyingData of the endorsement key.
func (t *TPM) TLSKey() (proto.CertifiedKey, error) {
	var out proto.CertifiedKey
	bound := proto.TLSKeyQualifyingData(t.endorsement.Public)
	err := t.with(func() error {
		rsp, err := tpm2.Certify{
			ObjectHandle:   t.tls.auth(),
			SignHandle:     t.ak.auth(),
			QualifyingData: tpm2.TPM2BData{Buffer: bound[:]},
		}.Execute(t.dev)
		if err != nil {
			return explain("certify the TLS key", err)
		}
		out = proto.CertifiedKey{
			Public:       bytes.Clone(t.tls.public),
			CreationData: bytes.Clone(t.tls.creation.data),
			Attest:       rsp.CertifyInfo.Bytes(),
			Signature:    tpm2.Marshal(rsp.Signature),
		}
		return t.certifies(out.Attest, &t.tls)
	}, &t.ak, &t.tls)
	return out, err
}
