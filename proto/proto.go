// Package proto is the wire format of Probity: the CBOR messages that an Attester (agent) and a Verifier exchange over
// MQTT, their topics and their limits.
//
// Messages are deterministic CBOR (RFC 8949, section 4.2.1) maps with small integer keys. Decoding is strict: duplicate
// keys, indefinite lengths, tags, trailing bytes, unknown keys, non-deterministic encodings and sizes over the limits of
// limits.go are errors. README.md and probity.cddl in this folder are the specification; this package is one
// implementation of it. It imports nothing else of Probity.
package proto

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// Digest is a SHA-256 digest, the only content address on the wire.
type Digest [sha256.Size]byte

// Sum returns the digest of content.
func Sum(content []byte) Digest { return sha256.Sum256(content) }

// IsZero reports whether d was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns the lower-case hexadecimal form.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ErrNotDeterministic is returned for CBOR that another encoding of the same message would be preferred to.
var ErrNotDeterministic = errors.New("encoding is not deterministic CBOR (RFC 8949, section 4.2.1)")

// Message is implemented by every top-level message: validate checks what the types alone cannot say.
type Message interface{ validate() error }

var (
	encoding = mustEnc(cbor.CoreDetEncOptions())
	decoding = mustDec(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   maxNesting,
		MaxArrayElements:  maxElements,
		MaxMapPairs:       maxElements,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
	})
)

func mustEnc(o cbor.EncOptions) cbor.UserBufferEncMode {
	m, err := o.UserBufferEncMode()
	if err != nil {
		panic(err)
	}
	return m
}

func mustDec(o cbor.DecOptions) cbor.DecMode {
	m, err := o.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

// Encode returns the deterministic encoding of m after checking it as a receiver would, so that nothing leaves that the
// other side must refuse.
func Encode(m Message) ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	b, err := encoding.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("encode %T: %d bytes, at most %d allowed", m, len(b), MaxMessage)
	}
	return b, nil
}

// Decode reads exactly one message of m's type from payload. The checks, in order: size, well-formed CBOR without
// duplicate keys, tags, indefinite lengths and trailing bytes, no unknown key, the message's own rules, deterministic
// encoding. On error m must not be used.
func Decode(payload []byte, m Message) error {
	if len(payload) > MaxMessage {
		return fmt.Errorf("decode %T: %d bytes, at most %d allowed", m, len(payload), MaxMessage)
	}
	if err := decoding.Unmarshal(payload, m); err != nil {
		return fmt.Errorf("decode %T: %w", m, err)
	}
	if err := m.validate(); err != nil {
		return fmt.Errorf("decode %T: %w", m, err)
	}
	again, _ := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(again)
	again.Reset()
	if err := encoding.MarshalToBuffer(m, again); err != nil {
		return fmt.Errorf("decode %T: %w", m, err)
	}
	if !bytes.Equal(again.Bytes(), payload) {
		return fmt.Errorf("decode %T: %w", m, ErrNotDeterministic)
	}
	return nil
}

// buffers are those into which Decode encodes again.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Domain tags separate every use of a hash or signature from every other.
const (
	evidenceTag = "probity/v1/evidence\x00"
	softwareTag = "probity/v1/software-evidence\x00"
	tlsKeyTag   = "probity/v1/tls-key\x00"
	enrollTag   = "probity/v1/software-enroll\x00"
	captureTag  = "probity/v1/capture\x00"
)

// QualifyingData binds claims to a nonce: SHA-256(tag || nonce || SHA-256(claims)). The TPM signs it as the quote's
// extraData (TPM 2.0 Part 2, 10.12.8), a software key signs SoftwareMessage of it.
func QualifyingData(nonce, claims []byte) Digest {
	inner := sha256.Sum256(claims)
	var b [len(evidenceTag) + NonceSize + sha256.Size]byte
	n := copy(b[:], evidenceTag)
	n += copy(b[n:], nonce)
	n += copy(b[n:], inner[:])
	return sha256.Sum256(b[:n])
}

// SoftwareMessage is what a device without a TPM signs instead of a quote, as the digest of an ECDSA P-256 signature.
func SoftwareMessage(qualifying Digest) Digest {
	return sha256.Sum256(append([]byte(softwareTag), qualifying[:]...))
}

// TLSKeyQualifyingData is the extraData of the certification of the TLS key by the AK.
func TLSKeyQualifyingData(endorsementPublic []byte) Digest {
	return sha256.Sum256(append([]byte(tlsKeyTag), endorsementPublic...))
}

// EnrollMessage is what a device without a TPM signs to prove that it holds its key during enrolment.
func EnrollMessage(nonce []byte, hello []byte) Digest {
	inner := sha256.Sum256(hello)
	b := append([]byte(enrollTag), nonce...)
	return sha256.Sum256(append(b, inner[:]...))
}
