package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/store"
)

// IndexPast indexes what was stored by versions that kept no sightings, so that searches and the deny-list know
// everything that was ever reported. It returns when there is nothing left, or ctx ends; what it has done stays done.
func (f *Fleet) IndexPast(ctx context.Context) error {
	for {
		left, err := f.indexSome(ctx)
		switch {
		case ctx.Err() != nil, err == nil && !left:
			return nil
		case err == nil:
			continue
		}
		f.log.Error("indexing what was stored before failed, trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backlogRetry):
		}
	}
}

// indexSome looks at a part of the backlog, and reports whether there is more.
func (f *Fleet) indexSome(ctx context.Context) (bool, error) {
	logs, err := f.cfg.Store.Unindexed(ctx, backlogPage)
	if err != nil {
		return false, err
	}
	for _, content := range logs {
		var guids []store.SeenDigest
		switch raw, err := f.cfg.Store.Content(ctx, content); {
		case err == nil:
			guids = logGUIDs(raw)
		case !errors.Is(err, store.ErrNotFound):
			return false, err
		}
		if err := f.cfg.Store.IndexGUIDs(ctx, content, guids); err != nil {
			return false, err
		}
	}
	devices, err := f.cfg.Store.Unseen(ctx, backlogPage)
	if err != nil {
		return false, err
	}
	for i := range devices {
		began := time.Now()
		err := f.indexDevice(ctx, &devices[i])
		if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) { // else it comes again, or is gone
			return false, fmt.Errorf("device %s: %w", devices[i].ID, err)
		}
		select { // it rests as long as it works: devices that report now come first
		case <-time.After(min(time.Since(began), backlogRest)):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return len(logs)+len(devices) > 0, nil
}

// past is what is known of a device's past as its results are read, newest first.
type past struct {
	list []store.PastSeen
	at   map[[32]byte]int // in list
	// lost is, by kind, when the oldest result that was read so far and speaks of the kind came: what it lacks was gone
	// by then.
	lost map[string]time.Time
	boot string // of the result that was read last
	from time.Time
	over time.Time // when the boot after that one began; zero: it is the newest
}

// indexDevice finds out what a device was seen with, by all of its results.
func (f *Fleet) indexDevice(ctx context.Context, d *store.Device) error {
	p := &past{at: make(map[[32]byte]int), lost: make(map[string]time.Time)}
	var references []string
	for before := int64(0); ; {
		page, err := f.cfg.Store.ResultsOnly(ctx, d.Tenant, d.ID, before, backlogPage)
		if err != nil {
			return err
		}
		for i := range page {
			r := &page[i]
			if before == 0 && i == 0 {
				references = r.Result.References
			}
			seen, err := f.seenThen(ctx, d, r, p)
			if err != nil {
				return err
			}
			p.add(r, seen)
		}
		if len(page) < backlogPage {
			break
		}
		before = page[len(page)-1].Seq
	}
	if err := f.cfg.Store.SeePast(ctx, *d, p.list, references); err != nil {
		return err
	}
	for i := range p.list {
		f.indexed.add(p.list[i].Content)
	}
	return nil
}

// seenThen returns what the evidence of a result referred to, nothing where it is no longer there or cannot be read.
func (f *Fleet) seenThen(ctx context.Context, d *store.Device, r *store.StoredResult, p *past) ([]store.Seen, error) {
	message, err := f.cfg.Store.Evidence(ctx, d.Tenant, d.ID, r.Result.Evidence)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	claimed, err := appraise.Open(message, nil)
	if err != nil { // of a form that is no longer read
		f.log.Debug("stored evidence is malformed", "tenant", d.Tenant, "device", d.ID, "evidence", r.Result.Evidence, "error", err)
		return nil, nil
	}
	vendor, model := r.Result.Vendor, r.Result.Model
	if vendor == "" && model == "" {
		vendor, model = d.Vendor, d.Model
	}
	out := &appraise.Outcome{Result: r.Result, Record: appraise.Record{Vendor: vendor, Model: model}}
	return f.seenBut(ctx, claimed, out, func(content [32]byte) bool {
		_, noted := p.at[content] // with its digests
		return noted || f.indexed.has(content)
	})
}

// add notes what one result saw. As the store does it with results that come one after the other, parts of an IMA list
// are there until the next boot, and everything else until a result lacks it.
func (p *past) add(r *store.StoredResult, seen []store.Seen) {
	at := r.Result.At
	if p.boot != "" && r.Result.BootID != p.boot {
		p.over = p.from
	}
	p.boot, p.from = r.Result.BootID, at
	for i := range seen {
		s := &seen[i]
		if n, known := p.at[s.Content]; known {
			p.list[n].First = at
			continue
		}
		until := p.lost[s.Kind]
		if s.Kind == store.SeenFiles {
			until = p.over
		}
		p.at[s.Content] = len(p.list)
		p.list = append(p.list, store.PastSeen{Seen: *s, Boot: r.Result.BootID, First: at, Until: until})
	}
	for i := range seen {
		p.lost[seen[i].Kind] = at
	}
}
