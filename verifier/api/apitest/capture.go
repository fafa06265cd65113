package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/store"
)

// Holds sets what a device of the test sends when raw bytes of it are asked for: content is done at once, a reason is a
// refusal, neither stands for a device that is away.
func (f *Fleet) Holds(content []byte, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content, f.reason = content, reason
}

// AskCapture implements api.Fleet.
func (f *Fleet) AskCapture(ctx context.Context, tenant string, spec fleet.CaptureSpec, actor string) (store.Capture, error) {
	if f.Fail != nil {
		return store.Capture{}, f.Fail
	}
	now := time.Now().UTC()
	c := store.Capture{
		Tenant: tenant, Device: spec.Device, State: store.CaptureAsked, Updated: now,
		CaptureDetails: store.CaptureDetails{
			Region: spec.Region, Offset: spec.Offset, Length: spec.Length, Nonce: make([]byte, 32), Actor: actor,
			Created: now, Expires: now.Add(time.Hour),
		},
	}
	var err error
	if c.Seq, err = f.Store.AddCapture(ctx, c, store.Event{At: now, Device: spec.Device, Kind: "capture-asked", Actor: actor}); err != nil {
		return c, err
	}
	f.mu.Lock()
	content, reason := f.content, f.reason
	f.mu.Unlock()
	asked := c
	switch {
	case reason != "":
		c.State, c.Reason = store.CaptureRefused, reason
	case content != nil:
		const piece = 50_000 // not a divisor of anything
		for at := 0; at < len(content); at += piece {
			part := content[at:min(at+piece, len(content))]
			if err := f.Store.AppendCapture(ctx, tenant, c.Device, c.Seq, uint32(at), part, now); err != nil {
				return c, err
			}
		}
		sum := sha256.Sum256(content)
		c.State, c.Held, c.Size, c.Digest = store.CaptureDone, uint32(len(content)), uint32(len(content)), hex.EncodeToString(sum[:])
		c.Source, c.Reported = "mtd:"+spec.Region, "differs"
	default:
		return c, nil
	}
	return asked, f.Store.SaveCapture(ctx, c)
}

// RemoveCapture implements api.Fleet.
func (f *Fleet) RemoveCapture(ctx context.Context, tenant, device string, seq int64, why, actor string) error {
	if f.Fail != nil {
		return f.Fail
	}
	return f.Store.RemoveCapture(ctx, tenant, device, seq, store.Event{
		At: time.Now(), Device: device, Kind: "capture-removed", Actor: actor, Detail: why,
	})
}
