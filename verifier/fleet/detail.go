package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/inspect"
	"github.com/probity-attest/probity/verifier/store"
)

// parts says which contents of evidence are wanted.
type parts struct{ log, list, flash, platform bool }

// stored is evidence that is stored, and what it is to be compared with.
type stored struct {
	device store.Device
	inspect.Evidence
	basis inspect.Basis
}

// evidence puts the evidence of a result together, of the newest for 0. A result that there is not is store.ErrNotFound.
func (f *Fleet) evidence(ctx context.Context, tenant, id string, seq int64, want parts) (*stored, error) {
	d, err := f.cfg.Store.Device(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	r, err := f.cfg.Store.Result(ctx, tenant, id, seq)
	if err != nil {
		return nil, err
	}
	message, err := f.cfg.Store.Evidence(ctx, tenant, id, r.Result.Evidence)
	if err != nil {
		return nil, fmt.Errorf("evidence %s: %w", r.Result.Evidence, err)
	}
	open, err := appraise.Open(message, nil)
	if err != nil {
		return nil, refuse("the evidence that is stored for this result cannot be read: %s", clean(err.Error(), maxDetail))
	}
	set, err := f.references.set(ctx, tenant)
	if err != nil {
		return nil, err
	}
	in, err := f.policies.of(ctx, &d)
	if err != nil {
		return nil, err
	}
	out := &stored{
		device: d, basis: inspect.Basis{References: set, Policy: in.Policy},
		Evidence: inspect.Evidence{Seq: r.Seq, Result: &r.Result, Message: open.Evidence, Claims: open.Claims},
	}
	return out, f.contents(ctx, out, want)
}

// contents reads what evidence names. What was never sent stays away.
func (f *Fleet) contents(ctx context.Context, e *stored, want parts) (err error) {
	read := func(wanted bool, c *proto.Content) []byte {
		if !wanted || c == nil || c.Size == 0 || err != nil {
			return nil
		}
		b, failed := f.cfg.Store.Content(ctx, c.Digest)
		if failed != nil && !errors.Is(failed, store.ErrNotFound) {
			err = failed
		}
		return b
	}
	e.BootLog = read(want.log, e.Claims.BootLog.Content)
	if s := e.Claims.Flash; s != nil {
		var m proto.Flash
		if raw := read(want.flash, s.Regions.Content); raw != nil && proto.Decode(raw, &m) == nil {
			e.Flash = &m
		}
	}
	var p proto.Platform
	if raw := read(want.platform, e.Claims.Platform.Content); raw != nil && proto.Decode(raw, &p) == nil {
		e.Platform = &p
	}
	if err != nil || !want.list || e.Result.IMAEntries == 0 {
		return err
	}
	e.IMA, err = f.imaList(ctx, &e.device, e.Result)
	return err
}

// Boot explains how a device booted. seq is that of a result, 0: the newest. Errors wrap store.ErrNotFound where there is
// no such device or result; this holds for all that explains results.
func (f *Fleet) Boot(ctx context.Context, tenant, id string, seq int64) (v1.Boot, error) {
	e, err := f.evidence(ctx, tenant, id, seq, parts{log: true})
	if err != nil {
		return v1.Boot{}, err
	}
	return inspect.Boot(&e.Evidence, e.basis)
}

// Files explains what a device runs: files of one standing, or of all for "". after is Next of the page before.
func (f *Fleet) Files(ctx context.Context, tenant, id string, seq int64, standing v1.Standing, after string, limit int) (v1.Files, error) {
	from := 0
	if after != "" {
		n, err := strconv.Atoi(after)
		if err != nil || n < 0 {
			return v1.Files{}, refuse("after: want the value of next of the page before")
		}
		from = n
	}
	e, err := f.evidence(ctx, tenant, id, seq, parts{log: true, list: true})
	if err != nil {
		return v1.Files{}, err
	}
	out, err := inspect.Files(&e.Evidence, e.basis)
	if err != nil {
		return v1.Files{}, err
	}
	if standing != "" {
		out.Files = slices.DeleteFunc(out.Files, func(x v1.File) bool { return x.Standing != standing })
	}
	from = min(from, len(out.Files))
	end := min(from+limit, len(out.Files))
	if end < len(out.Files) {
		out.Next = strconv.Itoa(end)
	}
	out.Files = out.Files[from:end]
	return out, nil
}

// Flash returns a map of a device's flash memory.
func (f *Fleet) Flash(ctx context.Context, tenant, id string, seq int64) (v1.Flash, error) {
	e, err := f.evidence(ctx, tenant, id, seq, parts{flash: true})
	if err != nil {
		return v1.Flash{}, err
	}
	return inspect.Flash(&e.Evidence, e.basis), nil
}

// Freshness tells what proves that a result is about the device as it was then.
func (f *Fleet) Freshness(ctx context.Context, tenant, id string, seq int64) (v1.Freshness, error) {
	e, err := f.evidence(ctx, tenant, id, seq, parts{})
	if err != nil {
		return v1.Freshness{}, err
	}
	return inspect.Freshness(&e.Evidence, e.device.AKPublic)
}

// BootLog returns the boot log that a result is about, as the device sent it.
func (f *Fleet) BootLog(ctx context.Context, tenant, id string, seq int64) ([]byte, error) {
	e, err := f.evidence(ctx, tenant, id, seq, parts{log: true})
	if err != nil {
		return nil, err
	}
	if e.BootLog == nil {
		return nil, fmt.Errorf("boot log: %w", store.ErrNotFound)
	}
	return e.BootLog, nil
}

// IMAList returns the entries that were appraised since the boot, in the kernel's binary format.
func (f *Fleet) IMAList(ctx context.Context, tenant, id string, seq int64) ([]byte, error) {
	e, err := f.evidence(ctx, tenant, id, seq, parts{list: true})
	if err != nil {
		return nil, err
	}
	if len(e.IMA) == 0 {
		return nil, fmt.Errorf("IMA list: %w", store.ErrNotFound)
	}
	return e.IMA, nil
}

// Compare tells how what one device reported differs from what another one did, or from what it reported at another
// time. A result of 0 is the newest.
func (f *Fleet) Compare(ctx context.Context, tenant, left string, at int64, right string, with int64) (v1.Diff, error) {
	all := parts{log: true, list: true, flash: true, platform: true}
	l, err := f.evidence(ctx, tenant, left, at, all)
	if err != nil {
		return v1.Diff{}, err
	}
	r, err := f.evidence(ctx, tenant, right, with, all)
	if err != nil {
		return v1.Diff{}, err
	}
	if l.device.ID == r.device.ID && l.Seq == r.Seq {
		return v1.Diff{}, refuse("this is one and the same result: name another one, or another device")
	}
	out := inspect.Diff(&l.Evidence, &r.Evidence)
	out.Left, out.Right = l.side(), r.side()
	return out, nil
}

func (e *stored) side() v1.DiffSide {
	return v1.DiffSide{
		Device: e.device.ID, Label: e.device.Label, Result: e.Seq, At: e.Result.At.UTC(), State: e.Result.State,
	}
}

// Timeline tells what happened to a device, newest first. before is Next of the page before, 0: from the newest.
func (f *Fleet) Timeline(ctx context.Context, tenant, id string, before int64, limit int) (v1.Timeline, error) {
	out := v1.Timeline{Points: []v1.TimelinePoint{}}
	found, err := f.cfg.Store.ResultsOnly(ctx, tenant, id, before, timelineResults)
	if err != nil {
		return out, err
	}
	list := make([]inspect.Past, len(found))
	for i := range found {
		list[i] = inspect.Past{Seq: found[i].Seq, Result: &found[i].Result}
	}
	var older *inspect.Past // the next page begins with it
	if n := len(list) - 1; n == timelineResults-1 {
		older, list = &list[n], list[:n]
	}
	points, next := inspect.Timeline(list, older, limit)
	if next == 0 && older != nil {
		next = list[len(list)-1].Seq
	}
	var from, to time.Time // between the last result of this page and that of the one before
	if next != 0 {
		at, _ := slices.BinarySearchFunc(list, next, func(p inspect.Past, seq int64) int { return int(seq - p.Seq) })
		from = list[at].Result.At
	}
	if before > 0 {
		if r, err := f.cfg.Store.Result(ctx, tenant, id, before); err == nil {
			to = r.Result.At
		} else if !errors.Is(err, store.ErrNotFound) {
			return out, err
		}
	}
	events, err := f.cfg.Store.EventsWithin(ctx, tenant, id, from, to, timelineEvents+1)
	if err != nil {
		return out, err
	}
	told := make([]v1.Event, 0, len(events))
	for i, e := range events {
		if i == timelineEvents {
			told = append(told, v1.Event{At: e.At, Kind: "more", Detail: "there are more events of this time: see the list of events"})
			break
		}
		told = append(told, v1.Event{Seq: e.Seq, At: e.At, Device: e.Device, Kind: e.Kind, Actor: e.Actor, Detail: e.Detail})
	}
	out.Points, out.Next = inspect.Merge(points, told), next
	return out, nil
}
