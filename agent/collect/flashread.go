package collect

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/probity-attest/probity/firmware/flash"
)

// errHangs says that a read got no answer from the kernel.
var errHangs = errors.New("the read hangs in the kernel")

// run makes one pass after the other until ctx ends.
func (f *Flash) run(ctx context.Context) {
	for first := true; ; first = false {
		began := time.Now()
		f.pass(ctx, first)
		if ctx.Err() != nil {
			return
		}
		if first {
			close(f.first)
		}
		if f.cfg.Changed != nil && f.changed() {
			f.cfg.Changed()
		}
		// A pass that takes longer than the interval must not make the machine read for ever.
		timer := time.NewTimer(max(f.cfg.Interval-time.Since(began), f.cfg.Interval/10))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// pass reads every region that is due, one after the other.
func (f *Flash) pass(ctx context.Context, first bool) {
	p := &progress{log: f.log, level: slog.LevelDebug, began: time.Now()}
	if first { // later ones are routine
		p.level, p.status = slog.LevelInfo, f.cfg.Status
	}
	var due []*region
	regions := f.plan()
	for _, r := range regions {
		if f.look(ctx, r) {
			due = append(due, r)
			p.total += r.length // only this goroutine changes it
		}
	}
	if ctx.Err() != nil || len(regions) == 0 {
		return
	}
	p.note("reading flash", "regions", len(regions), "due", len(due), "bytes", p.total)
	for _, r := range due {
		f.read(ctx, r, p)
	}
	if ctx.Err() == nil {
		p.note("flash is read", "regions", len(regions), "due", len(due), "took", time.Since(p.began).Round(time.Millisecond))
	}
}

// look opens a region's source and reports whether the region is to be read. That it cannot be is noted here.
func (f *Flash) look(ctx context.Context, r *region) bool {
	if r.unplanned != nil {
		f.log.Warn("flash region", "name", r.Name, "reason", r.unplanned)
		return false
	}
	var chip flash.Chip
	var fit flash.Region
	var generation string
	err := f.guarded(ctx, r, nil, func(context.Context, func(uint64)) error {
		source, err := f.machine.Open(r.Source)
		if err != nil {
			return err
		}
		chip = source.Describe()
		generation, _ = source.Generation()
		fit, err = r.Fit(source.Size())
		return errors.Join(err, source.Close())
	})
	if err != nil {
		f.settle(ctx, r, nil, err)
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	last, same := r.last, r.length == fit.Length
	r.length, r.chip = fit.Length, chip.JEDEC
	return r.err != nil || last == nil || !same || generation == "" || generation != last.sum.Generation ||
		time.Since(last.began) >= rereadAfter*f.cfg.Interval
}

// read hashes a region.
func (f *Flash) read(ctx context.Context, r *region, p *progress) {
	began := time.Now()
	var sum flash.Sum
	err := f.guarded(ctx, r, func(done uint64) { p.at(r, done) }, func(ctx context.Context, tick func(uint64)) error {
		source, err := f.machine.Open(r.Source)
		if err != nil {
			return err
		}
		sum, err = flash.Hash(ctx, source, r.Region, flash.HashOptions{
			BytesPerSecond: f.cfg.Rate, Progress: func(done, _ uint64) { tick(done) },
		})
		return errors.Join(err, source.Close())
	})
	p.end(r)
	if err != nil {
		f.settle(ctx, r, nil, err)
		return
	}
	f.settle(ctx, r, &reading{sum: sum, began: began}, nil)
}

// settle takes up the outcome of reading a region: a reading, or why there is none.
func (f *Flash) settle(ctx context.Context, r *region, now *reading, err error) {
	if ctx.Err() != nil { // cut short: what was known stays
		return
	}
	f.mu.Lock()
	last, failed := r.last, r.err
	r.last, r.err = now, err
	if now != nil {
		r.length = now.sum.Length
	}
	f.mu.Unlock()
	switch {
	case err != nil && (failed == nil || failed.Error() != err.Error()):
		f.log.Warn("flash region cannot be read", "name", r.Name, "source", r.Source.String(), "reason", err)
	case err == nil && last != nil && last.sum.Digest != now.sum.Digest:
		f.log.Warn("flash region changed", "name", r.Name, "source", r.Source.String(),
			"before", hex.EncodeToString(last.sum.Digest[:]), "now", hex.EncodeToString(now.sum.Digest[:]))
	}
}

// guarded runs work, which may hang in the kernel where nothing can end it, on a goroutine of its own. It gives up when
// there was no tick for too long, and leaves goroutine and thread to the kernel. One such region costs one thread, since
// no second one is sent after it.
func (f *Flash) guarded(
	ctx context.Context, r *region, tick func(done uint64), work func(context.Context, func(uint64)) error,
) error {
	f.mu.Lock()
	busy := r.busy
	r.busy = true
	f.mu.Unlock()
	if busy {
		return fmt.Errorf("%w, for more than %s", errHangs, f.stall)
	}
	ended, ticks := make(chan error, 1), make(chan uint64, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a read that moves again after it was given up ends
	go func() {
		err := work(ctx, func(done uint64) {
			select {
			case ticks <- done:
			default: // the one before is not taken yet
			}
		})
		f.mu.Lock()
		r.busy = false
		f.mu.Unlock()
		ended <- err
	}()
	stall := time.NewTimer(f.stall)
	defer stall.Stop()
	stopped := ctx.Done()
	for {
		select {
		case err := <-ended:
			return err
		case done := <-ticks:
			stall.Reset(f.stall)
			tick(done)
		case <-stopped: // it will end soon, or hangs
			stopped = nil
			stall.Reset(flashEnd)
		case <-stall.C:
			return fmt.Errorf("%w: no answer for %s", errHangs, f.stall)
		}
	}
}

// progress tells how a pass goes on.
type progress struct {
	log    *slog.Logger
	level  slog.Level
	status func(string)
	began  time.Time
	total  uint64 // bytes of the pass
	before uint64 // of the regions that are done
	tenth  uint64 // last one that was told
}

func (p *progress) note(message string, args ...any) {
	p.log.Log(context.Background(), p.level, message, args...)
}

// at takes in that done bytes of a region are read, and tells of every tenth of the pass.
func (p *progress) at(r *region, done uint64) {
	tenth := uint64(10)
	if p.total > 0 {
		tenth = uint64(float64(p.before+done) / float64(p.total) * 10)
	}
	if tenth <= p.tenth || tenth >= 10 { // the end has a line of its own
		return
	}
	p.tenth = tenth
	p.note("reading flash", "done", fmt.Sprintf("%d %%", 10*tenth), "region", r.Name)
	if p.status != nil {
		p.status(fmt.Sprintf("reading flash: %d %%, %s", 10*tenth, r.Name))
	}
}

// end takes in that a region is done with.
func (p *progress) end(r *region) {
	p.before += r.length
	p.at(r, 0)
}
