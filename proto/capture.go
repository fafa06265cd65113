package proto

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// CaptureRequest asks a device for the raw bytes of a region of its flash memory, on dn/capture. The device's owner
// decides whether they may leave it.
type CaptureRequest struct {
	Nonce  []byte   `cbor:"1,keyasint"` // names the capture; the statement at its end is signed over it
	Region string   `cbor:"2,keyasint"`
	Offset uint64   `cbor:"3,keyasint,omitempty"` // in the region, in bytes
	Length uint32   `cbor:"4,keyasint,omitempty"` // in bytes; 0: to the end of the region
	Banks  []uint16 `cbor:"5,keyasint"`           // acceptable PCR banks (TPM_ALG_ID), preferred first
	PCRs   uint32   `cbor:"6,keyasint"`           // to quote: bit i selects PCR i
	Held   uint32   `cbor:"7,keyasint,omitempty"` // bytes that the verifier has already, from an earlier connection
	Prefix []byte   `cbor:"8,keyasint,omitempty"` // SHA-256 of these
}

// CaptureUp is what a device says of a capture, on up/capture: exactly one of its parts.
type CaptureUp struct {
	Nonce   []byte        `cbor:"1,keyasint"` // of the request
	Start   *CaptureStart `cbor:"2,keyasint,omitempty"`
	Piece   *CapturePiece `cbor:"3,keyasint,omitempty"`
	Refused *Unavailable  `cbor:"4,keyasint,omitempty"` // there will be no more; CausePending: ask again later
	End     *CaptureEnd   `cbor:"5,keyasint,omitempty"`
}

// CaptureStart says what will come.
type CaptureStart struct {
	Size   uint32 `cbor:"1,keyasint"`           // of the whole capture in bytes
	Source string `cbor:"2,keyasint"`           // where it is read from, as in FlashRegion
	From   uint32 `cbor:"3,keyasint,omitempty"` // offset of the first piece: Held of the request, or 0
}

// CapturePiece is a piece of the captured bytes. Pieces come in order, without gaps.
type CapturePiece struct {
	Offset uint32 `cbor:"1,keyasint"` // in the capture
	Data   []byte `cbor:"2,keyasint"`
}

// CaptureEnd ends a capture: the device's key signs what was sent, so that nobody can replace it afterwards.
type CaptureEnd struct {
	Statement []byte `cbor:"1,keyasint"`           // encoded CaptureStatement
	Quote     []byte `cbor:"2,keyasint,omitempty"` // TPMS_ATTEST; absent from a device without a TPM
	Signature []byte `cbor:"3,keyasint"`           // TPMT_SIGNATURE; ASN.1 ECDSA without a TPM
}

// CaptureStatement is what a device says of captured bytes. Like everything about flash it is self-asserted: the running
// system read them. The signature says only that this device says so.
type CaptureStatement struct {
	Region string       `cbor:"1,keyasint"`
	Source string       `cbor:"2,keyasint"`
	Offset uint64       `cbor:"3,keyasint,omitempty"` // in the region
	Size   uint32       `cbor:"4,keyasint"`
	Digest Digest       `cbor:"5,keyasint"`           // SHA-256 of the captured bytes as they are, excluded ranges included
	Bad    []FlashRange `cbor:"6,keyasint,omitempty"` // bad blocks, left out: what follows moves up, 0xff fills the end
	Chip   string       `cbor:"7,keyasint,omitempty"` // JEDEC id in hexadecimal, where it is known
	BootID []byte       `cbor:"8,keyasint"`
}

// CaptureQualifyingData binds a statement to the request's nonce: SHA-256(tag || nonce || SHA-256(statement)). The TPM
// signs it as the quote's extraData, a software key signs SoftwareMessage of it.
func CaptureQualifyingData(nonce, statement []byte) Digest {
	inner := sha256.Sum256(statement)
	b := append([]byte(captureTag), nonce...)
	return sha256.Sum256(append(b, inner[:]...))
}

func (m *CaptureRequest) validate() error {
	if m.Region == "" {
		return errors.New("region (2): is empty")
	}
	if m.PCRs == 0 || m.PCRs>>NumPCRs != 0 {
		return fmt.Errorf("pcrs (6): want a non-empty selection of PCRs 0 to %d, got %#x", NumPCRs-1, m.PCRs)
	}
	if len(m.Banks) == 0 || len(m.Banks) > 4 {
		return fmt.Errorf("banks (5): want 1 to 4, got %d", len(m.Banks))
	}
	if m.Offset+uint64(m.Length) < m.Offset {
		return fmt.Errorf("length (4): %d bytes at %d exceed every address", m.Length, m.Offset)
	}
	if (m.Held == 0) != (len(m.Prefix) == 0) {
		return errors.New("held (7) and prefix (8) go together")
	}
	return errors.Join(
		exact("nonce (1)", m.Nonce, NonceSize), text("region (2)", m.Region, MaxText), captureSize("length (4)", m.Length),
		captureSize("held (7)", m.Held), optional("prefix (8)", m.Prefix, sha256.Size),
	)
}

func captureSize(name string, n uint32) error {
	if n > MaxCapture {
		return fmt.Errorf("%s: %d bytes, at most %d allowed", name, n, MaxCapture)
	}
	return nil
}

func (m *CaptureUp) validate() error {
	if err := exact("nonce (1)", m.Nonce, NonceSize); err != nil {
		return err
	}
	n := 0
	for _, is := range []bool{m.Start != nil, m.Piece != nil, m.Refused != nil, m.End != nil} {
		if is {
			n++
		}
	}
	switch {
	case n != 1:
		return fmt.Errorf("want exactly one of start (2), piece (3), refused (4) and end (5), got %d", n)
	case m.Start != nil:
		return m.Start.validate()
	case m.Piece != nil:
		if err := between("piece.data (2)", m.Piece.Data, 1, ChunkSize); err != nil {
			return err
		}
		if at := uint64(m.Piece.Offset) + uint64(len(m.Piece.Data)); at > MaxCapture {
			return fmt.Errorf("piece.offset (1): ends at %d, at most %d allowed", at, MaxCapture)
		}
		return nil
	case m.Refused != nil:
		return m.Refused.validate("refused (4)")
	}
	return errors.Join(
		between("end.statement (1)", m.End.Statement, 1, maxStatement), between("end.quote (2)", m.End.Quote, 0, maxAttest),
		between("end.signature (3)", m.End.Signature, 1, maxSig),
	)
}

func (m *CaptureStart) validate() error {
	if m.Size == 0 || m.From > m.Size {
		return fmt.Errorf("start: %d bytes from %d on", m.Size, m.From)
	}
	return errors.Join(captureSize("start.size (1)", m.Size), text("start.source (2)", m.Source, MaxText))
}

func (m *CaptureStatement) validate() error {
	if m.Region == "" || m.Size == 0 {
		return errors.New("want a region (1) and a size (4)")
	}
	return errors.Join(
		validateRanges("bad (6)", m.Bad, uint64(m.Size)),
		text("region (1)", m.Region, MaxText), text("source (2)", m.Source, MaxText), captureSize("size (4)", m.Size),
		text("chip (7)", m.Chip, MaxText), exact("boot-id (8)", m.BootID, BootIDSize),
	)
}
