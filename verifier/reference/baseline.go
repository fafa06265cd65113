// Package reference holds reference values, known-good measurements of a device model, as signed documents and compiled
// for look-up.
//
// A Release is a manifest that a vendor published, with those who endorse it. A Baseline is the operator's own set of
// reference values, taken from a device that the operator trusts and signed with the verifier's key: the fallback where a
// vendor publishes nothing. Both are documents of a model, and alternatives: any of them that counts makes a device good.
// Set is what an appraisal reads: all documents and deny-lists of a tenant, immutable, shared by all devices and replaced
// as a whole. A View is what counts of a model at a moment: periods, and the minimum of security version numbers (SVN).
//
// Files are most of what there is, so sets that are built one after the other keep them in one Table: a file that many
// versions have is there once, and a document is a hash table of numbers. What a file costs is in TestMemory.
//
// The package believes what it is given: who may sign for which model, and that they did, others have checked.
package reference

import (
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

// contentType of the COSE_Sign1 payload (RFC 9052, section 3.1).
const contentType = "application/vnd.probity.baseline+cbor"

// externalData separates this use of the signing key from every other.
var externalData = []byte("probity/v1/baseline")

// Baseline is a set of reference values for one model. Its measured parts (PCRs, Secure Boot, Files) are bound by a TPM;
// one of a device without a TPM has none of them and a Bank of 0. The others are what a device said of itself.
type Baseline struct {
	Name     string     `cbor:"1,keyasint"`
	Tenant   string     `cbor:"2,keyasint"`
	Vendor   string     `cbor:"3,keyasint"`
	Model    string     `cbor:"4,keyasint"`
	Firmware string     `cbor:"5,keyasint,omitempty"` // firmware version, for people
	Device   string     `cbor:"6,keyasint"`           // device from which the values were taken
	Created  time.Time  `cbor:"7,keyasint"`
	Bank     uint16     `cbor:"8,keyasint"` // TPM_ALG_ID; 0: the device has no TPM
	PCRs     []Register `cbor:"9,keyasint"`
	Secure   *bool      `cbor:"10,keyasint,omitempty"` // Secure Boot; absent: not measured
	Files    []File     `cbor:"11,keyasint,omitempty"` // IMA; empty: the device had no list

	Flash     []Region `cbor:"12,keyasint,omitempty"` // in ascending order of name; empty: the device read none
	Inventory []Device `cbor:"13,keyasint,omitempty"` // in ascending order of bus and address; empty: it told of none
	Tamper    []string `cbor:"14,keyasint,omitempty"` // names of tamper lines, in ascending order
}

// Register is the reference for one PCR.
type Register struct {
	Index      int     `cbor:"1,keyasint"`
	Value      []byte  `cbor:"2,keyasint"`
	ReportOnly bool    `cbor:"3,keyasint,omitempty"` // a difference is told, but does not change the verdict
	Events     []Event `cbor:"4,keyasint,omitempty"` // in order; empty: no log, only the value counts
}

// Event is one measurement.
type Event struct {
	Slot   string `cbor:"1,keyasint"` // which thing was measured
	Digest []byte `cbor:"2,keyasint"`
	Note   string `cbor:"3,keyasint,omitempty"` // what was measured, for people
}

// File is one file that IMA measured.
type File struct {
	Path   []byte `cbor:"1,keyasint"` // as the kernel gives it: any bytes but NUL
	Digest []byte `cbor:"2,keyasint"`
}

// ErrSignature is returned for a document that the verifier's key did not sign.
var ErrSignature = errors.New("signature does not verify")

var (
	encoding = func() cbor.EncMode {
		o := cbor.CoreDetEncOptions()
		o.Time = cbor.TimeRFC3339Nano
		m, err := o.EncMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
	decoding = func() cbor.DecMode {
		m, err := cbor.DecOptions{
			DupMapKey:         cbor.DupMapKeyEnforcedAPF,
			IndefLength:       cbor.IndefLengthForbidden,
			TagsMd:            cbor.TagsForbidden,
			MaxArrayElements:  maxFiles,
			ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		}.DecMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
)

// Sign returns b as COSE_Sign1 (RFC 9052, section 4.2) with ES256.
func Sign(b Baseline, key *ecdsa.PrivateKey) ([]byte, error) {
	if err := b.validate(); err != nil {
		return nil, fmt.Errorf("sign baseline %q: %w", b.Name, err)
	}
	payload, err := encoding.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("sign baseline %q: %w", b.Name, err)
	}
	signer, err := cose.NewSigner(cose.AlgorithmES256, key)
	if err != nil {
		return nil, fmt.Errorf("sign baseline %q: %w", b.Name, err)
	}
	headers := cose.Headers{Protected: cose.ProtectedHeader{
		cose.HeaderLabelAlgorithm:   cose.AlgorithmES256,
		cose.HeaderLabelContentType: contentType,
	}}
	document, err := cose.Sign1(rand.Reader, signer, headers, payload, externalData)
	if err != nil {
		return nil, fmt.Errorf("sign baseline %q: %w", b.Name, err)
	}
	return document, nil
}

// Open verifies and decodes a document. The checks, in order: size, COSE structure, content type, signature by key,
// strict CBOR, the values' own rules.
func Open(document []byte, key *ecdsa.PublicKey) (Baseline, error) {
	if len(document) > MaxDocument {
		return Baseline{}, fmt.Errorf("open baseline: %d bytes, at most %d allowed", len(document), MaxDocument)
	}
	var m cose.Sign1Message
	if err := m.UnmarshalCBOR(document); err != nil {
		return Baseline{}, fmt.Errorf("open baseline: %w", err)
	}
	if t, _ := m.Headers.Protected[cose.HeaderLabelContentType].(string); t != contentType {
		return Baseline{}, fmt.Errorf("open baseline: content type %q, want %q", t, contentType)
	}
	verifier, err := cose.NewVerifier(cose.AlgorithmES256, key)
	if err != nil {
		return Baseline{}, fmt.Errorf("open baseline: %w", err)
	}
	if err := m.Verify(externalData, verifier); err != nil {
		return Baseline{}, fmt.Errorf("open baseline: %w: %w", ErrSignature, err)
	}
	var b Baseline
	if err := decoding.Unmarshal(m.Payload, &b); err != nil {
		return Baseline{}, fmt.Errorf("open baseline: %w", err)
	}
	if err := b.validate(); err != nil {
		return Baseline{}, fmt.Errorf("open baseline %q: %w", b.Name, err)
	}
	return b, nil
}
