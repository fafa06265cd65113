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

// Claims is what a device says beside PCRs (EAT, RFC 9711, section 4, calls these claims). All are self-asserted, but
// fresh and unalterable in flight.
type Claims struct {
	Agent    string    `cbor:"1,keyasint"` // version of the agent
	BootID   []byte    `cbor:"2,keyasint"`
	Bank     uint16    `cbor:"3,keyasint,omitempty"` // TPM_ALG_ID of the quoted bank
	BootLog  Item      `cbor:"4,keyasint"`
	IMA      IMAStatus `cbor:"5,keyasint"`
	Platform Item      `cbor:"6,keyasint"`
}

// Item is content that could be read, or the reason why not.
type Item struct {
	Content     *Content     `cbor:"1,keyasint,omitempty"`
	Unavailable *Unavailable `cbor:"2,keyasint,omitempty"`
}

// IMAStatus says how long the IMA list was before the quote, or why there is none.
type IMAStatus struct {
	Count       uint64       `cbor:"1,keyasint,omitempty"`
	Unavailable *Unavailable `cbor:"2,keyasint,omitempty"`
}

// Cause is why something could not be read.
type Cause string

// Causes.
const (
	CauseNotFound   Cause = "not-found"     // there is no such file or device
	CausePermission Cause = "permission"    // the agent may not read it
	CauseTooLarge   Cause = "too-large"     // over the limits of this protocol
	CauseMalformed  Cause = "malformed"     // not in the format that it should have
	CauseIO         Cause = "io-error"      // the read failed
	CauseNotAllowed Cause = "not-allowed"   // the owner's charter keeps it on the device
	CauseNoSupport  Cause = "not-supported" // this machine has no such feature
)

// Unavailable is a first-class value: what could not be read, and why.
type Unavailable struct {
	Cause  Cause  `cbor:"1,keyasint"`
	Reason string `cbor:"2,keyasint"`
}

// Error makes Unavailable an error for the code that collects.
func (u *Unavailable) Error() string { return string(u.Cause) + ": " + u.Reason }

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

// Platform is the self-asserted description of the machine, content named by Claims.Platform.
type Platform struct {
	Vendor          string            `cbor:"1,keyasint,omitempty"` // SMBIOS system manufacturer or devicetree vendor
	Model           string            `cbor:"2,keyasint,omitempty"` // SMBIOS product name or devicetree model
	Board           string            `cbor:"3,keyasint,omitempty"`
	FirmwareVendor  string            `cbor:"4,keyasint,omitempty"`
	FirmwareVersion string            `cbor:"5,keyasint,omitempty"`
	FirmwareDate    string            `cbor:"6,keyasint,omitempty"`
	Architecture    string            `cbor:"7,keyasint,omitempty"`
	Kernel          string            `cbor:"8,keyasint,omitempty"`
	CommandLine     string            `cbor:"9,keyasint,omitempty"`
	OS              string            `cbor:"10,keyasint,omitempty"` // PRETTY_NAME of os-release
	SecureBoot      string            `cbor:"11,keyasint,omitempty"` // "on", "off" or absent
	Firmware        []FirmwareVersion `cbor:"12,keyasint,omitempty"` // EFI System Resource Table
	Unavailable     map[string]string `cbor:"13,keyasint,omitempty"` // what could not be read: why
}

// FirmwareVersion is an entry of the EFI System Resource Table (UEFI 2.10, section 23.4).
type FirmwareVersion struct {
	Class   string `cbor:"1,keyasint"` // GUID
	Version uint32 `cbor:"2,keyasint"`
	Lowest  uint32 `cbor:"3,keyasint"` // lowest supported version
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
		if len(v) != 32 && len(v) != 48 {
			return fmt.Errorf("pcrs (5): PCR %d: want 32 or 48 bytes, got %d", i, len(v))
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

func (m *Claims) validate() error {
	if m.IMA.Unavailable != nil && m.IMA.Count != 0 {
		return errors.New("ima (5): both a count and a reason for its absence")
	}
	return errors.Join(
		text("agent (1)", m.Agent, MaxText),
		exact("boot-id (2)", m.BootID, BootIDSize),
		m.BootLog.validate("boot-log (4)", MaxBootLog),
		m.IMA.Unavailable.validate("ima (5)"),
		m.Platform.validate("platform (6)", MaxPlatform),
	)
}

func (m Item) validate(name string, limit uint32) error {
	if (m.Content == nil) == (m.Unavailable == nil) {
		return fmt.Errorf("%s: want either content or the reason for its absence", name)
	}
	if m.Unavailable != nil {
		return m.Unavailable.validate(name)
	}
	if m.Content.Size == 0 {
		return fmt.Errorf("%s: empty content", name)
	}
	return m.Content.validate(name, limit)
}

func (m *Unavailable) validate(name string) error {
	if m == nil {
		return nil
	}
	switch m.Cause {
	case CauseNotFound, CausePermission, CauseTooLarge, CauseMalformed, CauseIO, CauseNotAllowed, CauseNoSupport:
	default:
		return fmt.Errorf("%s: unknown cause %q", name, clip(string(m.Cause)))
	}
	return text(name, m.Reason, MaxReason)
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

func (m *Platform) validate() error {
	if len(m.Firmware) > 64 || len(m.Unavailable) > 32 {
		return fmt.Errorf("%d firmware versions, %d unavailable: at most 64 and 32 allowed", len(m.Firmware), len(m.Unavailable))
	}
	for _, s := range []string{
		m.Vendor, m.Model, m.Board, m.FirmwareVendor, m.FirmwareVersion, m.FirmwareDate,
		m.Architecture, m.Kernel, m.OS, m.SecureBoot,
	} {
		if err := text("platform", s, MaxText); err != nil {
			return err
		}
	}
	for k, v := range m.Unavailable {
		if err := errors.Join(text("unavailable (13)", k, MaxText), text("unavailable (13)", v, MaxReason)); err != nil {
			return err
		}
	}
	for _, f := range m.Firmware {
		if err := text("firmware (12)", f.Class, MaxText); err != nil {
			return err
		}
	}
	return text("command-line (9)", m.CommandLine, 4096)
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
