package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// CaptureState is how far a capture has come.
type CaptureState string

// States of captures. The first two are open; the others are final.
const (
	CaptureAsked   CaptureState = "asked"   // the device has not answered yet
	CaptureRunning CaptureState = "running" // pieces come
	CaptureDone    CaptureState = "done"    // all bytes are here, and the device signed their digest
	CaptureRefused CaptureState = "refused" // the device, or its owner's charter, refused; Reason says why
	CaptureFailed  CaptureState = "failed"  // what came is not what the device signed, or nothing came in time
)

// Open reports whether more may come.
func (s CaptureState) Open() bool { return s == CaptureAsked || s == CaptureRunning }

// Capture is an operator's wish for raw bytes of a device's flash memory, and what came of it. A device has at most one
// that is open. Removing the device removes them.
type Capture struct {
	Seq            int64 // ascending with time, given by the store
	Tenant, Device string
	State          CaptureState
	Held           uint32    // bytes that have come; changed by AppendCapture and CutCapture only
	Updated        time.Time // when it last got on
	CaptureDetails
}

// CaptureDetails are what a store keeps of a capture without looking at it.
type CaptureDetails struct {
	Region    string    `cbor:"1,keyasint"`
	Offset    uint64    `cbor:"2,keyasint,omitempty"` // in the region, as asked for
	Length    uint32    `cbor:"3,keyasint,omitempty"` // as asked for; 0: to the end
	Nonce     []byte    `cbor:"4,keyasint"`
	Actor     string    `cbor:"5,keyasint"` // who asked for it
	Created   time.Time `cbor:"6,keyasint"`
	Expires   time.Time `cbor:"7,keyasint"`           // until when the device may answer
	Reason    string    `cbor:"8,keyasint,omitempty"` // why it was refused, failed, or waits
	Size      uint32    `cbor:"9,keyasint,omitempty"` // bytes that the device announced
	Source    string    `cbor:"10,keyasint,omitempty"`
	Digest    string    `cbor:"11,keyasint,omitempty"` // hexadecimal SHA-256 that the device signed
	Statement []byte    `cbor:"12,keyasint,omitempty"` // encoded proto.CaptureStatement
	Quote     []byte    `cbor:"13,keyasint,omitempty"`
	Signature []byte    `cbor:"14,keyasint,omitempty"`
	Reported  string    `cbor:"15,keyasint,omitempty"` // how the bytes compare with the digest that the device reported: "same", "differs", "" where there is none
}

// Check reports what keeps c from being stored.
func (c *Capture) Check() error {
	switch c.State {
	case CaptureAsked, CaptureRunning, CaptureDone, CaptureRefused, CaptureFailed:
	default:
		return fmt.Errorf("%w capture: unknown state %q", ErrInvalid, c.State)
	}
	if c.Tenant == "" || c.Device == "" || c.Region == "" || len(c.Nonce) == 0 {
		return fmt.Errorf("%w capture: want tenant, device, region and nonce", ErrInvalid)
	}
	return errors.Join(checkText("capture", c.Region), checkText("capture", c.Actor), checkText("capture", c.Reason),
		checkText("capture", c.Source), checkText("capture", c.Digest))
}

// Captures keeps raw bytes of flash memory.
type Captures interface {
	// AddCapture adds an open one and returns its number. ErrConflict: the device has an open one; ErrNotFound: there is no
	// such device.
	AddCapture(ctx context.Context, c Capture, events ...Event) (int64, error)
	// Capture returns one.
	Capture(ctx context.Context, tenant, device string, seq int64) (Capture, error)
	// Captures returns a device's, newest first.
	Captures(ctx context.Context, tenant, device string) ([]Capture, error)
	// OpenCapture returns the one of a device that is open.
	OpenCapture(ctx context.Context, tenant, device string) (Capture, error)
	// OpenCaptures returns open ones of all tenants that did not get on since before, longest idle first.
	OpenCaptures(ctx context.Context, before time.Time, limit int) ([]Capture, error)
	// SaveCapture replaces State, Updated and details of an open one, and records events. ErrConflict: it is not open any
	// more, or more than Held has come meanwhile.
	SaveCapture(ctx context.Context, c Capture, events ...Event) error
	// CutCapture forgets what has come of an open one but for the first held bytes. ErrConflict: it is not open, or holds less.
	CutCapture(ctx context.Context, tenant, device string, seq int64, held uint32) error
	// AppendCapture adds a piece to an open one. ErrConflict: it is not open, or offset is not what is held.
	AppendCapture(ctx context.Context, tenant, device string, seq int64, offset uint32, data []byte, at time.Time) error
	// CapturePiece returns bytes that have come, from offset on, up to the end of the piece in which they lie; ErrNotFound
	// where nothing has come.
	CapturePiece(ctx context.Context, tenant, device string, seq int64, offset uint32) ([]byte, error)
	// RemoveCapture deletes one.
	RemoveCapture(ctx context.Context, tenant, device string, seq int64, events ...Event) error
	// PruneCaptures deletes final ones that did not get on since before, of all tenants.
	PruneCaptures(ctx context.Context, before time.Time) error
	// CapturedBytes returns how many bytes of a tenant are held.
	CapturedBytes(ctx context.Context, tenant string) (uint64, error)
}

// Similar is on which other devices a finding is at present.
type Similar struct {
	Others  int      // at most MaxSimilar
	More    bool     // there are more than MaxSimilar
	Devices []string // ids of the first few that were enrolled
}

// Bounds of what Similar tells.
const (
	MaxSimilar     = 1000
	SimilarDevices = 5
)

// FindingKey is what two findings have in common that count as the same: code, component and what was observed.
func FindingKey(f *result.Finding) [16]byte {
	h := sha256.New()
	for _, s := range []string{f.Code, f.Component, f.Observed} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return [16]byte(h.Sum(nil))
}

// Comparison tells where else the findings of newest results occur. Those that were stored by a version without it
// count from the device's next report on.
type Comparison interface {
	// Similar returns for each finding on how many other devices of the tenant the newest result has the same.
	Similar(ctx context.Context, tenant, device string, findings []result.Finding) ([]Similar, error)
}
