package tpmtest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/probity-attest/probity/agent/tpm"
)

// Kind names an endorsement key by the short name of its profile.
type Kind string

// Kinds of endorsement keys.
const (
	RSA2048     Kind = "L-1"
	P256        Kind = "L-2"
	RSA2048High Kind = "H-1"
	P256High    Kind = "H-2"
	P384        Kind = "H-3"
)

// Manufacture does what a TPM's maker does: it makes the endorsement keys of these kinds (none: P256), has ca certify
// them and writes the certificates, and the intermediate's, into NV.
func Manufacture(t transport.TPM, ca *CA, kinds ...Kind) error {
	if len(kinds) == 0 {
		kinds = []Kind{P256}
	}
	for _, k := range kinds {
		if err := ManufactureWith(t, ca, k, nil); err != nil {
			return err
		}
	}
	return WriteNV(t, 0x01c00100, ca.Intermediate.Raw)
}

// ManufactureWith makes one endorsement key and writes its certificate, which change may spoil, into NV.
func ManufactureWith(t transport.TPM, ca *CA, kind Kind, change func(*x509.Certificate)) error {
	p, err := profile(kind)
	if err != nil {
		return err
	}
	handle, public, err := createEK(t, p)
	if err != nil {
		return err
	}
	if _, err := (tpm2.FlushContext{FlushHandle: handle}).Execute(t); err != nil {
		return fmt.Errorf("manufacture %s: %w", p.Name, err)
	}
	pub, err := tpm2.Pub(*public)
	if err != nil {
		return fmt.Errorf("manufacture %s: %w", p.Name, err)
	}
	der, err := ca.Certify(pub, change)
	if err != nil {
		return fmt.Errorf("manufacture %s: %w", p.Name, err)
	}
	return WriteNV(t, p.Certificate, der)
}

// Persist makes the endorsement key of a kind and keeps it at the handle of its profile, as platforms do.
func Persist(t transport.TPM, kind Kind) error {
	p, err := profile(kind)
	if err != nil {
		return err
	}
	handle, public, err := createEK(t, p)
	if err != nil {
		return err
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return fmt.Errorf("persist %s: %w", p.Name, err)
	}
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: handle, Name: *name},
		PersistentHandle: p.Persistent,
	}.Execute(t)
	_, flushErr := tpm2.FlushContext{FlushHandle: handle}.Execute(t)
	if err := errors.Join(err, flushErr); err != nil {
		return fmt.Errorf("persist %s: %w", p.Name, err)
	}
	return nil
}

func profile(kind Kind) (tpm.EndorsementProfile, error) {
	for _, p := range tpm.EndorsementProfiles {
		if strings.HasSuffix(p.Name, "("+string(kind)+")") {
			return p, nil
		}
	}
	return tpm.EndorsementProfile{}, fmt.Errorf("no endorsement profile %q", kind)
}

func createEK(t transport.TPM, p tpm.EndorsementProfile) (tpm2.TPMHandle, *tpm2.TPMTPublic, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(p.Public),
	}.Execute(t)
	if err != nil {
		return 0, nil, fmt.Errorf("make endorsement key %s: %w", p.Name, err)
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return 0, nil, fmt.Errorf("make endorsement key %s: %w", p.Name, err)
	}
	return rsp.ObjectHandle, public, nil
}

// WriteNV defines an NV index as TPM makers do (readable by everybody, writable by the platform) and writes data to it.
// An index that exists is replaced.
func WriteNV(t transport.TPM, index uint32, data []byte) error {
	op := fmt.Sprintf("write NV index %#x", index)
	platform := tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
	handle := tpm2.TPMHandle(index)
	if old, err := (tpm2.NVReadPublic{NVIndex: handle}).Execute(t); err == nil {
		_, err := tpm2.NVUndefineSpace{
			AuthHandle: platform, NVIndex: tpm2.NamedHandle{Handle: handle, Name: old.NVName},
		}.Execute(t)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	_, err := tpm2.NVDefineSpace{
		AuthHandle: platform,
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: handle, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(data)),
			Attributes: tpm2.TPMANV{
				PPWrite: true, PPRead: true, OwnerRead: true, AuthRead: true, NoDA: true, PlatformCreate: true,
			},
		}),
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	const chunk = 512
	for at := 0; at < len(data); at += chunk {
		pub, err := tpm2.NVReadPublic{NVIndex: handle}.Execute(t) // the name changes with the first write
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		_, err = tpm2.NVWrite{
			AuthHandle: platform,
			NVIndex:    tpm2.NamedHandle{Handle: handle, Name: pub.NVName},
			Data:       tpm2.TPM2BMaxNVBuffer{Buffer: data[at:min(at+chunk, len(data))]},
			Offset:     uint16(at),
		}.Execute(t)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	return nil
}
