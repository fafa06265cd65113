package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/proto"
)

// FlashConfig says which flash to read and how gently. Its zero value reads what the kernel shows, once an hour, at full
// speed.
type FlashConfig struct {
	// Root is the directory below which sys and dev are found, as in Config.
	Root string
	// Layout lists the regions; nil: what the kernel shows of MTD devices and eMMC boot areas. It must not change.
	Layout *flash.Layout
	// Rate is the most bytes that are read in a second; 0: as fast as it goes.
	Rate int64
	// Interval is the time from one pass over all regions to the next; 0: an hour.
	Interval time.Duration
	// Log has the progress; nil: nobody.
	Log *slog.Logger
	// Status is told in one line how the first pass goes on; nil: nobody.
	Status func(string)
	// Changed is called at the end of a pass that led to something else than Regions said before; nil: nobody.
	Changed func()
}

// Flash reads this machine's flash in the background, one region at a time, and keeps the digests in memory. What a
// digest says is self-asserted: it is of the bytes that the running system hands out.
//
// A region is read again once per interval, except where the kernel can tell that nobody wrote to it, and then at the
// latest after rereadAfter intervals: the kernel's record can be got around. A read that hangs in the kernel is given up
// after a while, without the thread that hangs, and holds up neither the other regions nor anybody who asks.
type Flash struct {
	cfg     FlashConfig
	machine flashMachine
	log     *slog.Logger
	stall   time.Duration // a read without progress for so long hangs
	began   time.Time
	stop    context.CancelFunc
	ended   chan struct{} // the background reader has returned
	first   chan struct{} // the first pass is over

	mu      sync.Mutex // guards what follows; never held while something is read
	regions []*region  // in ascending order of name; nil: not known yet
	asked   bool       // somebody has called Regions
	told    string     // what it returned last

	captured region // is busy while raw bytes are read
}

// flashMachine finds and opens flash; flash.Machine is one.
type flashMachine interface {
	Discover() ([]flash.Region, []error)
	Expand(flash.Region) ([]flash.Region, error)
	Open(flash.Source) (flash.Reader, error)
}

// region is one region and what is known of it.
type region struct {
	flash.Region       // as planned; does not change
	unplanned    error // why the plan says no more of it; does not change

	// Of the background reader, which alone changes it, under Flash.mu.
	length uint64 // in bytes, from the source; 0: not known
	chip   string // JEDEC id
	last   *reading
	err    error // why it could not be read
	busy   bool  // somebody is reading it, or hangs at that
}

// reading is what came out of reading a region.
type reading struct {
	sum   flash.Sum
	began time.Time // when its first byte was read
}

// NewFlash begins to read. Close ends it.
func NewFlash(cfg FlashConfig) *Flash { return newFlash(cfg, flash.Machine{Root: cfg.Root}) }

func newFlash(cfg FlashConfig, m flashMachine) *Flash {
	cfg.Interval = cmp.Or(cfg.Interval, time.Hour)
	f := &Flash{
		cfg: cfg, machine: m, log: cfg.Log, stall: flashStall, began: time.Now(),
		ended: make(chan struct{}), first: make(chan struct{}),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Rate > 0 { // a slow reader does not hang
		f.stall = max(f.stall, 4*flashStep*time.Second/time.Duration(cfg.Rate))
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	go func() {
		defer close(f.ended)
		f.run(ctx)
	}()
	return f
}

// Close ends the background reader. A thread that hangs in the kernel is left to the end of the process.
func (f *Flash) Close() error {
	f.stop()
	hangs := time.NewTimer(2 * flashEnd)
	defer hangs.Stop()
	select {
	case <-f.ended:
	case <-hangs.C:
	}
	return nil
}

// Wait returns when the first pass is over, when most has gone by since the reader began, or when ctx ends. It reports
// whether the pass is over.
func (f *Flash) Wait(ctx context.Context, most time.Duration) bool {
	timer := time.NewTimer(most - time.Since(f.began))
	defer timer.Stop()
	select {
	case <-f.first:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-f.first:
		return true
	default:
		return false
	}
}

// Regions returns what is known now and how old the oldest digest of it is; nil where this machine has no flash to read.
// Regions that are not read yet are unavailable as proto.CausePending. It fails where the whole cannot be sent, as a
// *proto.Unavailable. It never waits for a read.
func (f *Flash) Regions() (encoded []byte, age time.Duration, un *proto.Unavailable) {
	f.mu.Lock()
	defer f.mu.Unlock()
	encoded, age, un = f.known()
	f.asked, f.told = true, says(encoded, un)
	return encoded, age, un
}

// changed reports whether Regions would say something else than it did last, apart from the age.
func (f *Flash) changed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, _, un := f.known()
	return f.asked && f.told != says(b, un)
}

func says(encoded []byte, un *proto.Unavailable) string {
	if un != nil {
		return un.Error()
	}
	return string(encoded)
}

// known is Regions, with the lock held.
func (f *Flash) known() (encoded []byte, age time.Duration, un *proto.Unavailable) {
	if f.regions == nil {
		return nil, 0, unavailable(proto.CausePending, "the agent has only just begun to look for flash")
	}
	if len(f.regions) == 0 {
		return nil, 0, nil
	}
	now, m := time.Now(), &proto.Flash{}
	for _, r := range f.regions {
		m.Regions = append(m.Regions, r.describe(f.pending(r)))
		if r.last != nil {
			age = max(age, now.Sub(r.last.began))
		}
	}
	encoded, un = encodeFlash(m)
	return encoded, age, un
}

// pending says why a region is not read yet.
func (f *Flash) pending(r *region) string {
	if r.busy {
		return "it is being read"
	}
	done := 0
	for _, r := range f.regions {
		if r.last != nil || r.err != nil || r.unplanned != nil {
			done++
		}
	}
	return fmt.Sprintf("it waits for its turn: %d of %d regions are done", done, len(f.regions))
}

// encodeFlash says why where a description cannot be sent.
func encodeFlash(m *proto.Flash) ([]byte, *proto.Unavailable) {
	if n := len(m.Regions); n > proto.MaxFlashRegions {
		return nil, unavailable(proto.CauseTooLarge, "%d regions of flash, at most %d can be reported: list those that matter "+
			"in a layout (flash.layout)", n, proto.MaxFlashRegions)
	}
	b, err := proto.Encode(m) // what it refuses of regions as package flash makes them is their size
	if err == nil && len(b) > proto.MaxFlash {
		err = fmt.Errorf("the regions of flash take %d bytes, at most %d can be reported", len(b), proto.MaxFlash)
	}
	if err != nil {
		return nil, unavailable(proto.CauseTooLarge, "%v: list those that matter in a layout (flash.layout)", err)
	}
	return b, nil
}

// describe returns the region as evidence has it.
func (r *region) describe(pending string) proto.FlashRegion {
	out := proto.FlashRegion{
		Name: r.Name, Source: r.Source.String(), Offset: r.Offset, Length: cmp.Or(r.length, r.Length),
		Excluded: ranges(r.Exclude), Chip: r.chip,
	}
	switch err := cmp.Or(r.unplanned, r.err); {
	case err != nil:
		out.Unavailable = whyNot(err)
	case r.last == nil:
		out.Unavailable = unavailable(proto.CausePending, "%s", pending)
	case len(r.last.sum.Bad) > proto.MaxFlashRanges:
		out.Unavailable = unavailable(proto.CauseTooLarge, "%d ranges of bad blocks, at most %d can be reported",
			len(r.last.sum.Bad), proto.MaxFlashRanges)
	default:
		out.Digest, out.Bad = r.last.sum.Digest[:], ranges(r.last.sum.Bad)
	}
	return out
}

func ranges(list []flash.Range) []proto.FlashRange {
	var out []proto.FlashRange
	for _, r := range list {
		out = append(out, proto.FlashRange{Offset: r.Offset, Length: r.Length})
	}
	return out
}

// whyNot turns an error of reading into a reason.
func whyNot(err error) *proto.Unavailable {
	var unsupported *flash.UnsupportedError
	var chip *flash.ChipError
	cause := proto.CauseIO
	switch {
	case errors.As(err, &unsupported):
		cause = proto.CauseNoSupport
	case errors.As(err, &chip), errors.Is(err, flash.ErrOutside):
		cause = proto.CauseMalformed
	case isMissing(err):
		cause = proto.CauseNotFound
	case errors.Is(err, fs.ErrPermission):
		cause = proto.CausePermission
	case errors.Is(err, errTooMany):
		cause = proto.CauseTooLarge
	}
	un := unavailable(cause, "%v", err)
	un.Reason = clean([]byte(un.Reason), maxFlashReason)
	return un
}

// errTooMany says that a layout leads to more regions than can be reported.
var errTooMany = errors.New("too many regions")

// plan finds the regions and keeps what is known of those that are as before.
func (f *Flash) plan() []*region {
	var found []*region
	add := func(r flash.Region, err error) { found = append(found, &region{Region: r, unplanned: err}) }
	if f.cfg.Layout == nil {
		regions, errs := f.machine.Discover()
		for _, r := range regions {
			add(r, nil)
		}
		if len(errs) > 0 { // no region of a machine can have this name
			add(flash.Region{Name: "(discovery)", Source: flash.Source{Kind: "auto"}}, errors.Join(errs...))
		}
	} else {
		for _, r := range f.cfg.Layout.Regions {
			expanded, err := f.machine.Expand(r)
			if err == nil && len(found)+len(expanded) > proto.MaxFlashRegions {
				err = fmt.Errorf("%w: %v matches %d files: narrow the pattern", errTooMany, r.Source, len(expanded))
			}
			if err != nil {
				expanded = nil
				add(r, err)
			}
			for _, r := range expanded {
				add(r, nil)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b *region) int { return strings.Compare(a.Name, b.Name) })
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range found {
		if at := slices.IndexFunc(f.regions, r.same); at >= 0 {
			found[i] = f.regions[at]
		}
	}
	f.regions = append(make([]*region, 0, len(found)), found...)
	return found
}

// same reports whether two regions are one that was planned twice.
func (r *region) same(o *region) bool {
	return r.unplanned == nil && o.unplanned == nil && r.Name == o.Name && r.Source == o.Source &&
		r.Offset == o.Offset && r.Length == o.Length && slices.Equal(r.Exclude, o.Exclude)
}
