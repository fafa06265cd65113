package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Bounds of captures.
const (
	// captureLifetime is how long a device may take to send what it was asked for.
	captureLifetime = 24 * time.Hour
	// captureIdle is after how long without a piece a device is asked again, from where it stopped.
	captureIdle = 30 * time.Second
	// keepCaptures is how many captures of one device are kept, keepCaptured for how long, maxCaptured how many bytes of
	// all devices of a tenant.
	keepCaptures = 10
	keepCaptured = 30 * 24 * time.Hour
	maxCaptured  = 16 << 30
	// capturePCRs are quoted at the end of a capture: those of the firmware, which rest while the system runs.
	capturePCRs = pcr.Selection(0xff)
)

// CaptureSpec says which raw bytes of flash an operator wants.
type CaptureSpec struct {
	Device string // full id
	Region string // as the device names it
	Offset uint64 // in the region, in bytes
	Length uint32 // in bytes; 0: to the end
}

// AskCapture asks a device for raw bytes of its flash memory. Its owner's charter decides whether they come, which the
// capture's state then tells. A device that is away is asked again for a day.
func (f *Fleet) AskCapture(ctx context.Context, tenant string, spec CaptureSpec, actor string) (store.Capture, error) {
	d, err := f.cfg.Store.Device(ctx, tenant, spec.Device)
	if err != nil {
		return store.Capture{}, err
	}
	if d.Status != store.Active {
		return store.Capture{}, refuse("device %s is %s and has no key to sign with: approve it, and let it enrol", d.ID[:12], d.Status)
	}
	now := f.cfg.Now()
	c := store.Capture{
		Tenant: tenant, Device: d.ID, State: store.CaptureAsked, Updated: now,
		CaptureDetails: store.CaptureDetails{
			Region: spec.Region, Offset: spec.Offset, Length: spec.Length, Nonce: make([]byte, proto.NonceSize), Actor: actor,
			Created: now, Expires: now.Add(captureLifetime),
		},
	}
	_, _ = rand.Read(c.Nonce) // never fails (crypto/rand)
	if _, err := proto.Encode(f.captureRequest(&c)); err != nil {
		return store.Capture{}, refuse("%v", err)
	}
	if err := f.roomForCapture(ctx, &d); err != nil {
		return store.Capture{}, err
	}
	event := f.event(tenant, d.ID, "capture-asked", actor, clean("raw bytes of flash region "+captureName(&c), maxDetail))
	c.Seq, err = f.cfg.Store.AddCapture(ctx, c, event)
	if errors.Is(err, store.ErrConflict) {
		return store.Capture{}, refuse("device %s sends another capture: wait for its end, or remove it", d.ID[:12])
	}
	if err != nil {
		return store.Capture{}, err
	}
	f.sendCapture(ctx, &c)
	return c, nil
}

// captureName says for people what is captured.
func captureName(c *store.Capture) string {
	if c.Offset == 0 && c.Length == 0 {
		return c.Region
	}
	if c.Length == 0 {
		return fmt.Sprintf("%s from %#x on", c.Region, c.Offset)
	}
	return fmt.Sprintf("%s, %d bytes at %#x", c.Region, c.Length, c.Offset)
}

// roomForCapture removes the oldest captures of a device, so that one more can be kept.
func (f *Fleet) roomForCapture(ctx context.Context, d *store.Device) error {
	held, err := f.cfg.Store.CapturedBytes(ctx, d.Tenant)
	if err != nil {
		return err
	}
	if held > maxCaptured-proto.MaxCapture {
		return refuse("%d bytes of captures are kept, at most %d: remove some", held, uint64(maxCaptured))
	}
	list, err := f.cfg.Store.Captures(ctx, d.Tenant, d.ID)
	if err != nil {
		return err
	}
	for i := keepCaptures - 1; i < len(list); i++ {
		if list[i].State.Open() {
			continue
		}
		detail := fmt.Sprintf("capture %d of flash region %s made room", list[i].Seq, list[i].Region)
		err := f.RemoveCapture(ctx, d.Tenant, d.ID, list[i].Seq, clean(detail, maxDetail), "verifier")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// RemoveCapture deletes a capture with its bytes. What a device still sends of an open one is ignored.
func (f *Fleet) RemoveCapture(ctx context.Context, tenant, device string, seq int64, why, actor string) error {
	return f.cfg.Store.RemoveCapture(ctx, tenant, device, seq, f.event(tenant, device, "capture-removed", actor, why))
}

// expectCapture remembers that a device is to be asked when it comes back.
func (f *Fleet) expectCapture(c *store.Capture) {
	f.mu.Lock()
	defer f.mu.Unlock()
	makeRoom(f.capturing)
	f.capturing[c.Tenant+"/"+c.Device] = true
}

// expectCaptures does so after a restart.
func (f *Fleet) expectCaptures(ctx context.Context) error {
	open, err := f.cfg.Store.OpenCaptures(ctx, f.cfg.Now().Add(time.Second), 1000)
	for i := range open {
		f.expectCapture(&open[i])
	}
	return err
}

func (f *Fleet) captureRequest(c *store.Capture) *proto.CaptureRequest {
	return &proto.CaptureRequest{
		Nonce: c.Nonce, Region: c.Region, Offset: c.Offset, Length: c.Length, Banks: f.policies.plain.Policy.Offers(), PCRs: uint32(capturePCRs),
	}
}

// sendCapture asks the device, for the first time or from where it stopped. That it was not reached is no failure: it is
// asked again.
func (f *Fleet) sendCapture(ctx context.Context, c *store.Capture) {
	f.expectCapture(c)
	m := f.captureRequest(c)
	if c.Held > 0 {
		sum := sha256.New()
		if err := f.readCapture(ctx, c, sum); err != nil {
			f.log.Error("captured bytes cannot be read", "device", c.Device, "capture", c.Seq, "error", err)
			return
		}
		m.Held, m.Prefix = c.Held, sum.Sum(nil)
	}
	to := proto.Address{Tenant: c.Tenant, Device: c.Device, Leaf: proto.DownCapture}
	if err := f.cfg.Sender.Send(ctx, to, m); err != nil {
		f.log.Warn("capture request not sent", "device", c.Device, "error", err)
	}
}

// readCapture writes all bytes that have come to every hash.
func (f *Fleet) readCapture(ctx context.Context, c *store.Capture, to ...hash.Hash) error {
	for at := uint32(0); at < c.Held; {
		b, err := f.cfg.Store.CapturePiece(ctx, c.Tenant, c.Device, c.Seq, at)
		if err != nil {
			return err
		}
		b = b[:min(len(b), int(c.Held-at))]
		for _, h := range to {
			h.Write(b)
		}
		at += uint32(len(b))
	}
	return nil
}

// Capture implements link.Handler: a message about a capture. What fits no open one is ignored.
func (f *Fleet) Capture(ctx context.Context, from proto.Address, m *proto.CaptureUp) {
	c, err := f.cfg.Store.OpenCapture(ctx, from.Tenant, from.Device)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !bytes.Equal(c.Nonce, m.Nonce):
		f.cfg.Metrics.refused.WithLabelValues("capture").Inc()
		return
	case err == nil && m.Piece != nil:
		err = f.capturePiece(ctx, &c, m.Piece)
	case err == nil && m.Start != nil:
		err = f.captureStart(ctx, &c, m.Start)
	case err == nil && m.Refused != nil:
		err = f.captureRefused(ctx, &c, m.Refused)
	case err == nil:
		err = f.captureEnd(ctx, &c, m.End)
	}
	if errors.Is(err, store.ErrConflict) { // it came twice, or the capture was removed: a gap is asked for again
		f.cfg.Metrics.refused.WithLabelValues("capture").Inc()
		return
	}
	if err != nil {
		f.failed("capture", from, err)
	}
}

func (f *Fleet) captureStart(ctx context.Context, c *store.Capture, m *proto.CaptureStart) error {
	switch {
	case c.Length > 0 && m.Size != c.Length:
		return f.captureFails(ctx, c, "the device starts to send %d bytes, %d were asked for", m.Size, c.Length)
	case m.From > c.Held:
		return f.captureFails(ctx, c, "the device goes on at %d, but only %d bytes have come", m.From, c.Held)
	}
	if m.From < c.Held {
		if err := f.cfg.Store.CutCapture(ctx, c.Tenant, c.Device, c.Seq, m.From); err != nil {
			return err
		}
		c.Held = m.From
	}
	c.State, c.Reason, c.Size, c.Source, c.Updated = store.CaptureRunning, "", m.Size, clean(m.Source, maxName), f.cfg.Now()
	return f.cfg.Store.SaveCapture(ctx, *c)
}

func (f *Fleet) capturePiece(ctx context.Context, c *store.Capture, m *proto.CapturePiece) error {
	if c.State != store.CaptureRunning {
		return store.ErrConflict
	}
	if uint64(m.Offset)+uint64(len(m.Data)) > uint64(c.Size) {
		return f.captureFails(ctx, c, "the device sends more than the %d bytes that it announced", c.Size)
	}
	return f.cfg.Store.AppendCapture(ctx, c.Tenant, c.Device, c.Seq, m.Offset, m.Data, f.cfg.Now())
}

// captureRefused takes the device's no, or its "later".
func (f *Fleet) captureRefused(ctx context.Context, c *store.Capture, un *proto.Unavailable) error {
	c.Reason, c.Updated = clean(un.Error(), maxDetail), f.cfg.Now()
	if un.Cause == proto.CausePending {
		return f.cfg.Store.SaveCapture(ctx, *c)
	}
	c.State = store.CaptureRefused
	return f.endCapture(ctx, c, "capture-refused", "device", fmt.Sprintf("flash region %s: %s", captureName(c), c.Reason))
}

// captureEnd accepts what has come if the device's key signed it. The checks, in order: all bytes are here; signature over
// the nonce; the statement is about what was asked for; its digest is that of the bytes.
func (f *Fleet) captureEnd(ctx context.Context, c *store.Capture, m *proto.CaptureEnd) error {
	if c.State != store.CaptureRunning || c.Held != c.Size {
		return store.ErrConflict // pieces are missing: it is asked again
	}
	d, err := f.cfg.Store.Device(ctx, c.Tenant, c.Device)
	if err != nil {
		return err
	}
	statement, err := appraise.VerifyCapture(appraise.Identity{AK: d.AKPublic, Level: d.Level}, c.Nonce, capturePCRs, m)
	if err != nil {
		return f.captureFails(ctx, c, "not signed by the device: %v", err)
	}
	if statement.Region != c.Region || statement.Offset != c.Offset || statement.Size != c.Size {
		return f.captureFails(ctx, c, "the device signed %d bytes at %#x of region %s", statement.Size, statement.Offset, statement.Region)
	}
	sum, masked := sha256.New(), &masked{Hash: sha256.New()}
	reported, err := f.reportedRegion(ctx, c)
	if err != nil {
		return err
	}
	if reported != nil {
		masked.left = reported.Excluded
	}
	if err := f.readCapture(ctx, c, sum, masked); err != nil {
		return err
	}
	digest := proto.Digest(sum.Sum(nil))
	if digest != statement.Digest {
		return f.captureFails(ctx, c, "the device signed the digest %s, but what it sent has %s", statement.Digest, digest)
	}
	c.State, c.Reason, c.Digest, c.Updated = store.CaptureDone, "", digest.String(), f.cfg.Now()
	c.Statement, c.Quote, c.Signature = m.Statement, m.Quote, m.Signature
	detail := fmt.Sprintf("flash region %s: %d bytes, sha256:%s", captureName(c), c.Size, c.Digest)
	if reported != nil {
		c.Reported = "same"
		if hex.EncodeToString(masked.Sum(nil)) != reported.Digest {
			c.Reported = "differs"
			detail += ", which is not what the device reported: " + reported.Digest
		}
	}
	return f.endCapture(ctx, c, "capture-done", "device", detail)
}

// captureFails ends a capture whose device contradicts itself. What has come stays, for people to look at.
func (f *Fleet) captureFails(ctx context.Context, c *store.Capture, format string, args ...any) error {
	c.State, c.Reason, c.Updated = store.CaptureFailed, clean(fmt.Sprintf(format, args...), maxDetail), f.cfg.Now()
	return f.endCapture(ctx, c, "capture-failed", "verifier", fmt.Sprintf("flash region %s: %s", captureName(c), c.Reason))
}

func (f *Fleet) endCapture(ctx context.Context, c *store.Capture, kind, actor, detail string) error {
	if err := f.cfg.Store.SaveCapture(ctx, *c, f.event(c.Tenant, c.Device, kind, actor, clean(detail, maxDetail))); err != nil {
		return err
	}
	f.mu.Lock()
	delete(f.capturing, c.Tenant+"/"+c.Device)
	f.mu.Unlock()
	f.log.Info("capture ended", "tenant", c.Tenant, "device", c.Device, "capture", c.Seq, "state", c.State, "reason", c.Reason)
	return nil
}

// reportedRegion returns what the device last reported of the region if all of it was captured, nil where the two cannot be
// compared.
func (f *Fleet) reportedRegion(ctx context.Context, c *store.Capture) (*result.Region, error) {
	results, err := f.cfg.Store.Results(ctx, c.Tenant, c.Device, 0, 1)
	if err != nil || len(results) == 0 {
		return nil, err
	}
	for i := range results[0].Result.Regions {
		r := &results[0].Result.Regions[i]
		if r.Name != c.Region || r.Digest == "" || c.Offset != 0 || r.Length != uint64(c.Size) {
			continue
		}
		shown := uint64(0)
		for _, x := range r.Excluded {
			shown += x.Length
		}
		if shown == r.Left { // a result does not list more than so many ranges
			return r, nil
		}
	}
	return nil, nil
}

// masked hashes what is written to it as a device does: bytes of excluded ranges count as 0xff.
type masked struct {
	hash.Hash
	left []result.Span // ascending
	at   uint64
}

// Write implements hash.Hash.
func (m *masked) Write(b []byte) (int, error) {
	if len(m.left) > 0 {
		b = bytes.Clone(b)
	}
	end := m.at + uint64(len(b))
	for _, x := range m.left {
		for i := max(x.Offset, m.at); i < min(x.Offset+x.Length, end); i++ {
			b[i-m.at] = 0xff
		}
	}
	m.at = end
	return m.Hash.Write(b)
}

// tendCaptures asks again for what does not get on, gives up what took too long, and forgets what is old.
func (f *Fleet) tendCaptures(ctx context.Context) error {
	now := f.cfg.Now()
	if err := f.cfg.Store.PruneCaptures(ctx, now.Add(-keepCaptured)); err != nil {
		return err
	}
	idle, err := f.cfg.Store.OpenCaptures(ctx, now.Add(-captureIdle), 100)
	if err != nil {
		return err
	}
	for i := range idle {
		err := f.tendCapture(ctx, &idle[i])
		if err != nil && !errors.Is(err, store.ErrConflict) { // it got on, ended or was removed meanwhile
			return err
		}
	}
	return nil
}

func (f *Fleet) tendCapture(ctx context.Context, c *store.Capture) error {
	if now := f.cfg.Now(); now.After(c.Expires) {
		why := "the device did not answer"
		if c.Held > 0 {
			why = "the device did not send all"
		}
		return f.captureFails(ctx, c, "%s within %s", why, captureLifetime)
	}
	c.Updated = f.cfg.Now()
	if err := f.cfg.Store.SaveCapture(ctx, *c); err != nil {
		return err
	}
	f.sendCapture(ctx, c)
	return nil
}

// resumeCapture asks a device that has come back for what it was sending. To one that has not stopped this says nothing.
func (f *Fleet) resumeCapture(ctx context.Context, from proto.Address) {
	f.mu.Lock()
	known := f.capturing[key(from)]
	f.mu.Unlock()
	if !known { // most often; what another replica asked for, tendCaptures finds
		return
	}
	c, err := f.cfg.Store.OpenCapture(ctx, from.Tenant, from.Device)
	switch {
	case errors.Is(err, store.ErrNotFound):
		f.mu.Lock()
		delete(f.capturing, key(from))
		f.mu.Unlock()
	case err != nil:
		f.failed("reading a capture", from, err)
	case f.cfg.Now().Sub(c.Updated) > time.Second: // otherwise pieces come
		f.sendCapture(ctx, &c)
	}
}
