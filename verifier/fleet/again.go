package fleet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/policy"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// oldEvidence is a device's newest evidence, put together so that it can be appraised by itself: all PCR values and the
// IMA list from its beginning. Both are bound by the quote as they were when the parts came one after the other.
type oldEvidence struct {
	f      *Fleet
	device *store.Device
	claims *appraise.Claimed
	nonce  challenge.Nonce
	record appraise.Record
	list   []byte // IMA, from the beginning
	// message is the evidence as it came.
	message []byte
	digest  proto.Digest
	failed  error // of the store
}

// newest puts the newest evidence of a device together. It is refused, with the reason, where parts are missing.
func (f *Fleet) newest(ctx context.Context, d *store.Device) (*oldEvidence, error) {
	results, err := f.cfg.Store.Results(ctx, d.Tenant, d.ID, 0, 1)
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, refuse("it never attested")
	}
	r := &results[0].Result
	message, err := f.cfg.Store.Evidence(ctx, d.Tenant, d.ID, r.Evidence)
	if err != nil {
		return nil, fmt.Errorf("evidence %s: %w", r.Evidence, err)
	}
	open, err := appraise.Open(message, nil)
	if err != nil {
		return nil, refuse("its stored evidence is malformed: %s", clean(err.Error(), maxDetail))
	}
	e := &oldEvidence{f: f, device: d, message: message}
	copied := *open
	e.claims = &copied
	e.nonce, err = f.cfg.Nonces.Check(challenge.Evidence, d.Tenant, d.ID, open.Evidence.Nonce, r.At, time.Duration(1<<62))
	if err != nil {
		return nil, refuse("the nonce of its newest evidence is not this verifier's: %s", err)
	}
	was, err := appraise.DecodeRecord(d.Record)
	if err != nil {
		return nil, err
	}
	// What was remembered of earlier reports is left out, so that all three appraisals see the same evidence and no
	// more.
	e.record = appraise.Record{Vendor: was.Vendor, Model: was.Model, Platform: was.Platform}
	if err := e.values(r); err != nil {
		return nil, err
	}
	return e, e.files(ctx, r)
}

// values puts all PCR values into the evidence.
func (e *oldEvidence) values(r *result.Result) error {
	if r.Bank == "" {
		return nil
	}
	ev := &e.claims.Evidence
	ev.PCRBase, ev.PCRs = nil, make(map[uint32][]byte, len(r.PCRs))
	for name, value := range r.PCRs {
		i, err := strconv.ParseUint(name, 10, 8)
		if err != nil {
			return fmt.Errorf("stored result: PCR %q: %w", name, err)
		}
		v, err := hex.DecodeString(value)
		if err != nil {
			return fmt.Errorf("stored result: PCR %d: %w", i, err)
		}
		ev.PCRs[uint32(i)] = v
	}
	return nil
}

// files puts the whole IMA list into the evidence.
func (e *oldEvidence) files(ctx context.Context, r *result.Result) error {
	s := e.claims.Evidence.IMA
	if s == nil || s.From == 0 && s.Part.Size > 0 {
		return nil
	}
	if r.IMAEntries == 0 {
		if s.From > 0 {
			return refuse("its IMA list did not fit its quote: see its findings")
		}
		return nil
	}
	list, err := e.f.imaList(ctx, e.device, r)
	if err != nil {
		return err
	}
	n, err := ima.Count(list)
	if err != nil {
		return refuse("its stored IMA list is malformed: %s", clean(err.Error(), maxDetail))
	}
	e.list, e.digest = list, proto.Sum(list)
	e.claims.Evidence.IMA = &proto.IMASegment{Count: uint64(n), Part: proto.Content{Digest: e.digest, Size: uint32(len(list))}}
	return nil
}

// appraise appraises the evidence by other references.
func (e *oldEvidence) appraise(ctx context.Context, set *reference.Set, in policy.InForce, now time.Time, memo *appraise.Memo) (result.Result, error) {
	reader := &contentReader{ctx: ctx, store: e.f.cfg.Store}
	out, err := appraise.Appraise(appraise.Input{
		Tenant: e.device.Tenant, Device: e.device.ID, Claimed: e.claims, Nonce: e.nonce,
		Identity: appraise.Identity{AK: e.device.AKPublic, Level: e.device.Level},
		Record:   e.record, References: set, Policy: in.Policy, Rules: in.Rules, Now: now, Memo: memo,
		Content: func(d proto.Digest) ([]byte, bool) {
			if e.list != nil && d == e.digest {
				return e.list, true
			}
			return reader.content(d)
		},
	})
	e.failed = reader.err
	return out.Result, err
}

// condemn appraises a device's newest stored evidence by the references of now, and records the result if the device is
// untrusted by it and was not before: a device that is silent must not keep a verdict that nobody would give any more. It
// never makes a device better, nor its evidence younger: what an appraisal remembers of earlier reports is not looked at
// again.
func (f *Fleet) condemn(ctx context.Context, d *store.Device) error {
	if d.State == result.Untrusted || d.State == result.NeverAttested {
		return nil
	}
	e, err := f.newest(ctx, d)
	var told *RefusedError
	if errors.As(err, &told) { // the device will tell anew
		return nil
	}
	if err != nil {
		return err
	}
	set, err := f.references.set(ctx, d.Tenant)
	if err != nil {
		return err
	}
	in, err := f.policies.of(ctx, d)
	if err != nil {
		return err
	}
	r, err := e.appraise(ctx, set, in, f.cfg.Now(), f.memo)
	var missing *appraise.MissingError
	var rejected *appraise.Rejection
	switch {
	case e.failed != nil:
		return e.failed
	case errors.As(err, &missing), errors.As(err, &rejected):
		return nil
	case err != nil:
		return err
	case r.State != result.Untrusted:
		return nil
	}
	return f.recordAgain(ctx, d, e, r)
}

// recordAgain records what became of a device without new evidence.
func (f *Fleet) recordAgain(ctx context.Context, d *store.Device, e *oldEvidence, r result.Result) error {
	was := d.State
	r.StaleAt = d.StaleAt
	ear, err := f.cfg.Signer.Sign(r)
	if err != nil {
		return err
	}
	d.State, d.Since, d.Result = r.State, r.At, []byte(ear)
	why := append([]string{"appraised again by its stored evidence"}, reasons(&r)...)
	event := stateChanged(d, was, r.State, r.At, []string{strings.Join(why[:min(len(why), 2)], ": ")})
	err = f.cfg.Store.Record(ctx, store.Outcome{Device: *d, Evidence: e.message, Result: r, EAR: ear}, event)
	if errors.Is(err, store.ErrConflict) { // the device reported meanwhile: by the references of now, or it will be asked
		return nil
	}
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	d.Version++
	f.log.Info("device state changed by its stored evidence", "tenant", d.Tenant, "device", d.ID, "from", was, "to", r.State)
	if err := f.cfg.Sender.Retain(ctx, address(d, proto.Result), []byte(ear)); err != nil {
		f.log.Warn("result not published", "device", d.ID, "error", err)
	}
	return nil
}
