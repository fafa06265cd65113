package fleet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Evidence implements link.Handler: appraise, record, acknowledge.
func (f *Fleet) Evidence(ctx context.Context, from proto.Address, message []byte) {
	start := time.Now()
	ctx, traced := f.traceAppraisal(ctx)
	err := f.appraise(ctx, from, message)
	traced(err)
	f.cfg.Metrics.duration.Observe(time.Since(start).Seconds())
	var missing *appraise.MissingError
	var rejected *appraise.Rejection
	switch {
	case err == nil:
		f.forget(from)
	case errors.As(err, &missing):
		f.want(ctx, from, message, missing.Digests)
	case errors.As(err, &rejected):
		f.forget(from)
		f.reject(ctx, from, message, rejected)
	default:
		// No receipt: the device keeps its report and sends it again.
		f.failed("appraisal", from, err)
	}
}

// Content implements link.Handler: content that evidence waited for.
func (f *Fleet) Content(ctx context.Context, from proto.Address, digest proto.Digest, content []byte) {
	if err := f.cfg.Store.PutContent(ctx, digest, content); err != nil {
		f.failed("storing content", from, err)
		return
	}
	if message := f.arrived(from, digest); message != nil {
		f.Evidence(ctx, from, message)
	}
}

// arrived notes content that came and returns the evidence that waited for it, once nothing more is on its way.
func (f *Fleet) arrived(from proto.Address, digest proto.Digest) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.waiting[key(from)]
	if w == nil {
		return nil
	}
	delete(w.missing, digest)
	if len(w.missing) > 0 {
		return nil
	}
	return w.message
}

// want keeps evidence until its content has come.
func (f *Fleet) want(ctx context.Context, from proto.Address, message []byte, digests []proto.Digest) {
	w := &waiting{message: message, missing: make(map[proto.Digest]bool, len(digests))}
	for _, d := range digests {
		w.missing[d] = true
	}
	f.mu.Lock()
	makeRoom(f.waiting)
	f.waiting[key(from)] = w
	f.mu.Unlock()
	f.cfg.Metrics.evidence.WithLabelValues("wanted").Inc()
	from.Leaf = proto.DownWant
	if err := f.cfg.Sender.Send(ctx, from, &proto.Want{Evidence: proto.Sum(message), Contents: digests}); err != nil {
		f.log.Warn("want not sent", "device", from.Device, "error", err)
	}
}

func (f *Fleet) forget(from proto.Address) {
	f.mu.Lock()
	delete(f.waiting, key(from))
	f.mu.Unlock()
}

func key(a proto.Address) string { return a.Tenant + "/" + a.Device }

// appraise computes an outcome and records it. When the device changed meanwhile, it is computed again.
func (f *Fleet) appraise(ctx context.Context, from proto.Address, message []byte) error {
	claimed, err := appraise.Open(message, f.memo)
	if err != nil {
		return err
	}
	for range conflictRetries {
		err = f.once(ctx, from, message, claimed)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return err
}

func (f *Fleet) once(ctx context.Context, from proto.Address, message []byte, claimed *appraise.Claimed) error {
	d, err := f.cfg.Store.Device(ctx, from.Tenant, from.Device)
	if err != nil {
		return err
	}
	if d.Status != store.Active {
		return &appraise.Rejection{Code: proto.CodeNotEnrolled, Err: errors.New("the device is not enrolled")}
	}
	now := f.cfg.Now()
	nonce, err := f.cfg.Nonces.Check(challenge.Evidence, d.Tenant, d.ID, claimed.Evidence.Nonce, now, f.cfg.NonceLifetime)
	if err != nil {
		return &appraise.Rejection{Code: nonceCode(err), Err: err}
	}
	record, err := appraise.DecodeRecord(d.Record)
	if err != nil {
		return err
	}
	set, err := f.references.set(ctx, d.Tenant)
	if err != nil {
		return err
	}
	in, err := f.policies.of(ctx, &d)
	if err != nil {
		return err
	}
	reader := &contentReader{ctx: ctx, store: f.cfg.Store}
	out, err := appraise.Appraise(appraise.Input{
		Tenant: d.Tenant, Device: d.ID, Claimed: claimed, Nonce: nonce,
		Identity: appraise.Identity{AK: d.AKPublic, Level: d.Level},
		Record:   record, References: set, Policy: in.Policy, Rules: in.Rules, Now: now,
		Content: reader.content, Peers: f.peersOf(ctx, &d), Memo: f.memo,
	})
	if reader.err != nil { // not missing: the store failed
		return reader.err
	}
	if err != nil {
		return err
	}
	seen, err := f.seen(ctx, claimed, &out)
	if err != nil {
		return err
	}
	return f.record(ctx, d, message, out, seen, in.Interval)
}

func nonceCode(err error) string {
	if errors.Is(err, challenge.ErrExpired) {
		return proto.CodeNonceExpired
	}
	return proto.CodeNonceForeign
}

// contentReader tells content that is missing from a store that fails.
type contentReader struct {
	ctx   context.Context
	store store.Contents
	err   error
}

func (r *contentReader) content(d proto.Digest) ([]byte, bool) {
	b, err := r.store.Content(r.ctx, d)
	switch {
	case err == nil:
		return b, true
	case !errors.Is(err, store.ErrNotFound):
		r.err = err
	}
	return nil, false
}

// record commits an outcome and only then tells anybody. interval is how often the device reports.
func (f *Fleet) record(
	ctx context.Context, d store.Device, message []byte, out appraise.Outcome, seen []store.Seen, interval time.Duration,
) error {
	ear, err := f.cfg.Signer.Sign(out.Result)
	if err != nil {
		return err
	}
	encoded, err := out.Record.Encode()
	if err != nil {
		return err
	}
	was := d.Current(out.Result.At)
	d.Record, d.Result = encoded, []byte(ear)
	d.LastSeen, d.StaleAt = out.Result.At, out.Result.StaleAt
	if out.Result.State != was {
		d.Since = out.Result.At
	}
	d.State, d.Silenced = out.Result.State, false
	if p := out.Platform; p != nil {
		d.Vendor, d.Model = clip(out.Record.Vendor, maxName), clip(out.Record.Model, maxName)
		d.Firmware = clip(p.FirmwareVersion, maxName)
	}
	var events []store.Event
	if d.State != was {
		events = append(events, stateChanged(&d, was, d.State, out.Result.At, reasons(&out.Result)))
	}
	err = f.cfg.Store.Record(ctx, store.Outcome{Device: d, Evidence: message, Result: out.Result, EAR: ear, Seen: seen}, events...)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	f.recorded(seen)
	f.cfg.Metrics.evidence.WithLabelValues(string(out.Result.State)).Inc()
	if d.State != was {
		f.log.Info("device state changed", "tenant", d.Tenant, "device", d.ID, "from", was, "to", d.State)
	}
	if err := f.cfg.Sender.Retain(ctx, address(&d, proto.Result), []byte(ear)); err != nil {
		f.log.Warn("result not published", "device", d.ID, "error", err)
	}
	f.receipt(ctx, address(&d, proto.DownReceipt), &proto.Receipt{
		Evidence: proto.Sum(message), Status: proto.Appraised,
		State: string(out.Result.State), Reasons: reasons(&out.Result), Next: next(interval),
	})
	return nil
}

func stateChanged(d *store.Device, was, is result.State, at time.Time, why []string) store.Event {
	detail := fmt.Sprintf("%s -> %s", was, is)
	if len(why) > 0 {
		detail += ": " + why[0]
	}
	return store.Event{
		At: at, Tenant: d.Tenant, Device: d.ID, Kind: "state-changed", Actor: "verifier", Detail: clean(detail, maxDetail),
	}
}

// reasons are the findings that made the state, in words, as many as a receipt may carry.
func reasons(r *result.Result) []string {
	var out []string
	for _, finding := range r.Findings {
		if finding.Severity == result.Info || len(out) == proto.MaxReasons {
			break
		}
		out = append(out, clean(finding.Line(), proto.MaxReason-len(ellipsis)))
	}
	return out
}

func (f *Fleet) receipt(ctx context.Context, to proto.Address, r *proto.Receipt) {
	if err := f.cfg.Sender.Send(ctx, to, r); err != nil {
		f.log.Warn("receipt not sent", "device", to.Device, "error", err)
	}
}

// reject tells a device why its evidence was not appraised: what it did wrong, never what was expected. Evidence that
// was appraised before and is sent again, because the receipt was lost, gets its receipt again.
func (f *Fleet) reject(ctx context.Context, from proto.Address, message []byte, why *appraise.Rejection) {
	digest := proto.Sum(message)
	d, err := f.cfg.Store.Device(ctx, from.Tenant, from.Device)
	if err != nil {
		f.failed("reading the device", from, err)
		return
	}
	if why.Code == proto.CodeNonceReplayed {
		if _, err := f.cfg.Store.Evidence(ctx, d.Tenant, d.ID, hex.EncodeToString(digest[:])); err == nil {
			f.receipt(ctx, address(&d, proto.DownReceipt), &proto.Receipt{
				Evidence: digest, Status: proto.Appraised, State: string(d.Current(f.cfg.Now())), Next: f.due(ctx, &d),
			})
			return
		}
	}
	f.cfg.Metrics.evidence.WithLabelValues("rejected").Inc()
	if err := f.report(ctx, &d, why); err != nil {
		f.failed("recording the rejection", from, err)
		return
	}
	f.receipt(ctx, address(&d, proto.DownReceipt), &proto.Receipt{
		Evidence: digest, Status: proto.Rejected, Code: why.Code, State: string(d.Current(f.cfg.Now())),
		Reasons: []string{clean(why.Err.Error(), proto.MaxReason-len(ellipsis))}, Next: f.due(ctx, &d),
	})
	if why.Code == proto.CodeOutOfSync && f.mayAsk(from) {
		if err := f.challenge(ctx, &d); err != nil {
			f.log.Warn("challenge not sent", "device", d.ID, "error", err)
		}
	}
}

// report tells the operator of rejected evidence, but not of what happens to healthy devices, nor without end.
func (f *Fleet) report(ctx context.Context, d *store.Device, why *appraise.Rejection) error {
	if why.Code == proto.CodeNonceExpired || why.Code == proto.CodeOutOfSync {
		f.log.Debug("evidence rejected", "tenant", d.Tenant, "device", d.ID, "code", why.Code, "error", why.Err)
		return nil
	}
	now := f.cfg.Now()
	if !f.rejections.allow(d.Tenant+"/"+d.ID+"/"+why.Code, now) {
		return nil
	}
	f.log.Warn("evidence rejected", "tenant", d.Tenant, "device", d.ID, "code", why.Code, "error", why.Err)
	return f.cfg.Store.AddEvent(ctx, store.Event{
		At: now, Tenant: d.Tenant, Device: d.ID, Kind: "evidence-rejected", Actor: "device",
		Detail: clean(why.Code+": "+why.Err.Error(), maxDetail),
	})
}
