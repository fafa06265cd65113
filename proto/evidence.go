package proto

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// StateKind says why an agent speaks on up/state.
type StateKind uint8

// State kinds.
const (
	StateReady   StateKind = 1 // asks for a challenge
	StateOffline StateKind = 2 // leaves, or (as the MQTT will) was lost
)

// State is what an agent says of itself on up/state.
type State struct {
	Kind  StateKind `cbor:"1,keyasint"`
	Agent string    `cbor:"2,keyasint"` // version of the agent
}

// Challenge asks a device for evidence, on dn/challenge.
type Challenge struct {
	Nonce    []byte   `cbor:"1,keyasint"`
	Banks    []uint16 `cbor:"2,keyasint"`           // acceptable PCR banks (TPM_ALG_ID), preferred first
	PCRs     uint32   `cbor:"3,keyasint"`           // bit i selects PCR i
	Lifetime uint32   `cbor:"4,keyasint"`           // seconds for which the nonce is accepted
	BootID   []byte   `cbor:"5,keyasint,omitempty"` // boot to which IMAFrom refers
	IMAFrom  uint64   `cbor:"6,keyasint,omitempty"` // entries of that boot's IMA list already appraised
	PCRBase  []byte   `cbor:"7,keyasint,omitempty"` // PCR values that the verifier still knows
}

// Evidence is a device's answer to a challenge, on up/evidence (RFC 9334, section 8.1).
//
// Claims are bound by the qualifying data, PCR values by the quote's pcrDigest and the IMA list by the replay to PCR 10,
// so that every field is either signed by the TPM or proved by something that is.
type Evidence struct {
	Nonce     []byte            `cbor:"1,keyasint"`
	Claims    []byte            `cbor:"2,keyasint"`           // encoded Claims
	Quote     []byte            `cbor:"3,keyasint,omitempty"` // TPMS_ATTEST; absent from a device without a TPM
	Signature []byte            `cbor:"4,keyasint"`           // TPMT_SIGNATURE; ASN.1 ECDSA without a TPM
	PCRs      map[uint32][]byte `cbor:"5,keyasint,omitempty"` // those that differ from PCRBase; all without one
	PCRBase   []byte            `cbor:"6,keyasint,omitempty"`
	IMA       *IMASegment       `cbor:"7,keyasint,omitempty"`
}

// IMASegment names the part of the IMA list, in the kernel's binary format, that follows the first From entries.
type IMASegment struct {
	From  uint64  `cbor:"1,keyasint"`
	Count uint64  `cbor:"2,keyasint"` // entries in the segment
	Part  Content `cbor:"3,keyasint"`
}

// Content names bytes by digest and size. The zero Content names no bytes.
type Content struct {
	Digest Digest `cbor:"1,keyasint"`
	Size   uint32 `cbor:"2,keyasint"`
}

// Want asks for content that the verifier has never seen, on dn/want.
type Want struct {
	Evidence Digest   `cbor:"1,keyasint"` // of the evidence message that named it
	Contents []Digest `cbor:"2,keyasint"`
}

// Chunk is a piece of wanted content, on up/blob. Chunks of one content are sent in order, without gaps.
type Chunk struct {
	Digest Digest `cbor:"1,keyasint"` // of the whole content
	Size   uint32 `cbor:"2,keyasint"` // of the whole content
	Offset uint32 `cbor:"3,keyasint"`
	Data   []byte `cbor:"4,keyasint"`
}

// Status is the outcome of a piece of evidence.
type Status uint8

// Statuses.
const (
	Appraised Status = 1 // authentic and stored; State is the verdict
	Rejected  Status = 2 // not authentic or not fresh; Code says why; the device's state did not change
)

// Receipt says that evidence was dealt with and that the outcome is on stable storage, on dn/receipt.
type Receipt struct {
	Evidence Digest   `cbor:"1,keyasint"`
	Status   Status   `cbor:"2,keyasint"`
	Code     string   `cbor:"3,keyasint,omitempty"` // of a rejection
	State    string   `cbor:"4,keyasint,omitempty"` // device state after appraisal
	Reasons  []string `cbor:"5,keyasint,omitempty"` // findings in words, most important first
	Next     uint32   `cbor:"6,keyasint"`           // seconds after which the next report is due, not before
}

func (m *State) validate() error {
	if m.Kind != StateReady && m.Kind != StateOffline {
		return fmt.Errorf("kind (1): unknown value %d", m.Kind)
	}
	return text("agent (2)", m.Agent, MaxText)
}

func (m *Challenge) validate() error {
	if m.PCRs == 0 || m.PCRs>>NumPCRs != 0 {
		return fmt.Errorf("pcrs (3): want a non-empty selection of PCRs 0 to %d, got %#x", NumPCRs-1, m.PCRs)
	}
	if len(m.Banks) == 0 || len(m.Banks) > 4 {
		return fmt.Errorf("banks (2): want 1 to 4, got %d", len(m.Banks))
	}
	if m.Lifetime == 0 {
		return errors.New("lifetime (4): must not be 0")
	}
	if m.IMAFrom > 0 && len(m.BootID) == 0 {
		return errors.New("ima-from (6) says nothing without boot-id (5)")
	}
	return errors.Join(
		exact("nonce (1)", m.Nonce, NonceSize),
		optional("boot-id (5)", m.BootID, BootIDSize),
		optional("pcr-base (7)", m.PCRBase, PCRBaseSize),
	)
}

func (m *Evidence) validate() error {
	if err := errors.Join(
		exact("nonce (1)", m.Nonce, NonceSize),
		between("claims (2)", m.Claims, 1, MaxClaims),
		between("quote (3)", m.Quote, 0, maxAttest),
		between("signature (4)", m.Signature, 1, maxSig),
		optional("pcr-base (6)", m.PCRBase, PCRBaseSize),
	); err != nil {
		return err
	}
	if len(m.Quote) == 0 && (len(m.PCRs) > 0 || len(m.PCRBase) > 0 || m.IMA != nil) {
		return errors.New("pcrs (5), pcr-base (6) and ima (7) prove nothing without a quote (3)")
	}
	size := 0
	for i, v := range m.PCRs {
		if i >= NumPCRs {
			return fmt.Errorf("pcrs (5): no PCR %d", i)
		}
		if len(v) != 20 && len(v) != 32 && len(v) != 48 {
			return fmt.Errorf("pcrs (5): PCR %d: want 20, 32 or 48 bytes, got %d", i, len(v))
		}
		if size != 0 && len(v) != size {
			return fmt.Errorf("pcrs (5): values of %d and %d bytes are of two banks", size, len(v))
		}
		size = len(v)
	}
	if m.IMA == nil {
		return nil
	}
	if (m.IMA.Count == 0) != (m.IMA.Part.Size == 0) {
		return fmt.Errorf("ima (7): %d entries in %d bytes", m.IMA.Count, m.IMA.Part.Size)
	}
	return m.IMA.Part.validate("ima (7)", MaxIMASegment)
}

func (m Content) validate(name string, limit uint32) error {
	if m.Size > limit {
		return fmt.Errorf("%s: %d bytes, at most %d allowed", name, m.Size, limit)
	}
	return nil
}

func (m *Want) validate() error {
	if n := len(m.Contents); n == 0 || n > 8 {
		return fmt.Errorf("contents (2): want 1 to 8, got %d", n)
	}
	return nil
}

func (m *Chunk) validate() error {
	if m.Size > MaxIMASegment {
		return fmt.Errorf("size (2): %d bytes, at most %d allowed", m.Size, MaxIMASegment)
	}
	if len(m.Data) == 0 || len(m.Data) > ChunkSize {
		return fmt.Errorf("data (4): want 1 to %d bytes, got %d", ChunkSize, len(m.Data))
	}
	if uint64(m.Offset)+uint64(len(m.Data)) > uint64(m.Size) {
		return fmt.Errorf("offset (3): %d bytes at %d exceed the size %d", len(m.Data), m.Offset, m.Size)
	}
	return nil
}

func (m *Receipt) validate() error {
	if m.Status != Appraised && m.Status != Rejected {
		return fmt.Errorf("status (2): unknown value %d", m.Status)
	}
	if len(m.Reasons) > MaxReasons {
		return fmt.Errorf("reasons (5): %d, at most %d allowed", len(m.Reasons), MaxReasons)
	}
	for _, r := range m.Reasons {
		if err := text("reasons (5)", r, MaxReason); err != nil {
			return err
		}
	}
	return errors.Join(text("code (3)", m.Code, MaxText), text("state (4)", m.State, MaxText))
}

func text(name, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s: %d bytes, at most %d allowed", name, len(s), most)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s: not valid UTF-8", name)
	}
	return nil
}

func exact(name string, b []byte, n int) error {
	if len(b) != n {
		return fmt.Errorf("%s: want %d bytes, got %d", name, n, len(b))
	}
	return nil
}

func optional(name string, b []byte, n int) error {
	if len(b) == 0 {
		return nil
	}
	return exact(name, b, n)
}

func between(name string, b []byte, least, most int) error {
	if len(b) < least || len(b) > most {
		return fmt.Errorf("%s: want %d to %d bytes, got %d", name, least, most, len(b))
	}
	return nil
}
