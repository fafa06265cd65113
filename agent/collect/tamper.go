package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/probity-attest/probity/proto"
)

// TamperLine says from which GPIO line a contact of the enclosure is read.
type TamperLine struct {
	Name      string // what evidence and findings call it
	Chip      string // "gpiochip0", as in /dev
	Line      int    // number of the line on the chip
	ActiveLow bool   // the enclosure is open when the line is low
	Pull      Pull
}

// Pull is a resistor in the chip that gives a line a level while nothing drives it.
type Pull uint8

// Pulls.
const (
	PullAsIs Pull = iota // as the board has it
	PullUp
	PullDown
)

// String returns the line as ParseTamperLine reads it.
func (l TamperLine) String() string {
	s := l.Name + "=" + l.Chip + ":" + strconv.Itoa(l.Line) + ":active-high"
	if l.ActiveLow {
		s = strings.TrimSuffix(s, "high") + "low"
	}
	return s + [...]string{"", ":pull-up", ":pull-down"}[l.Pull]
}

// ParseTamperLine reads NAME=CHIP:LINE:ACTIVE[:PULL], such as "enclosure=gpiochip0:17:active-high". ACTIVE says at which
// level the enclosure is open, active-high or active-low; PULL is pull-up or pull-down.
func ParseTamperLine(s string) (TamperLine, error) {
	fail := func(format string, args ...any) (TamperLine, error) {
		return TamperLine{}, fmt.Errorf("tamper line %q: %s; want NAME=CHIP:LINE:ACTIVE[:PULL], such as "+
			"enclosure=gpiochip0:17:active-high:pull-up", s, fmt.Sprintf(format, args...))
	}
	name, place, ok := strings.Cut(s, "=")
	parts := strings.Split(place, ":")
	if !ok || len(parts) < 3 || len(parts) > 4 {
		return fail("it has not all its parts, or too many")
	}
	if !isLabel(name) {
		return fail("the name must be 1 to %d letters, digits, \".\", \"_\" and \"-\"", maxTamperName)
	}
	l := TamperLine{Name: name, Chip: parts[0]}
	number, isChip := strings.CutPrefix(l.Chip, "gpiochip")
	if _, err := decimal(number); !isChip || err != nil {
		return fail("chip %q is none of gpiochip0, gpiochip1 and so on", l.Chip)
	}
	var err error
	if l.Line, err = decimal(parts[1]); err != nil {
		return fail("line %q is not the number of a line on the chip", parts[1])
	}
	switch parts[2] {
	case "active-high":
	case "active-low":
		l.ActiveLow = true
	default:
		return fail("%q is neither active-high (open when high) nor active-low (open when low)", parts[2])
	}
	if len(parts) == 4 {
		switch parts[3] {
		case "pull-up":
			l.Pull = PullUp
		case "pull-down":
			l.Pull = PullDown
		default:
			return fail("%q is neither pull-up nor pull-down", parts[3])
		}
	}
	return l, nil
}

// ParseTamperLines reads lines with names and places that differ, at most proto.MaxTamperLines.
func ParseTamperLines(list []string) ([]TamperLine, error) {
	if len(list) > proto.MaxTamperLines {
		return nil, fmt.Errorf("%d tamper lines, at most %d allowed", len(list), proto.MaxTamperLines)
	}
	var out []TamperLine
	for _, s := range list {
		l, err := ParseTamperLine(s)
		if err != nil {
			return nil, err
		}
		for _, o := range out {
			if o.Name == l.Name {
				return nil, fmt.Errorf("tamper lines %q and %q have the same name", o, l)
			}
			if o.Chip == l.Chip && o.Line == l.Line {
				return nil, fmt.Errorf("tamper lines %q and %q are the same line", o, l)
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// decimal reads a number of at most 5 digits, written as it is printed.
func decimal(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || s != strconv.FormatUint(n, 10) {
		return 0, errors.New("not a number")
	}
	return int(n), nil
}

func isLabel(s string) bool {
	return s != "" && len(s) <= maxTamperName && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}) < 0
}

// contact is an open line. Its methods may be called at once.
type contact interface {
	// High returns the level.
	High() (bool, error)
	// Edge waits until the level has changed and returns the new one and when that was, from any point in time on. After
	// Close it fails.
	Edge() (high bool, at time.Duration, err error)
	// Watched reports whether Edge ever returns one.
	Watched() bool
	Close() error
}

// Tamper watches the contacts of an enclosure. Between two reports it counts openings, so that a short one is not
// missed. What it says is self-asserted: a line can be cut, and a system that was taken over lies about it.
//
// A line that can't be opened or does not answer is a value with its reason, and is tried again at the next report. No
// line holds up another one, or the report.
type Tamper struct {
	lines []*watched
	log   *slog.Logger
	open  func(TamperLine) (contact, error)
	wait  time.Duration // for all lines to answer
}

// watched is a line that is watched.
type watched struct {
	TamperLine
	turn    chan struct{} // held while the line is asked
	watcher sync.WaitGroup

	mu       sync.Mutex // guards what follows; not held while the line is asked
	contact  contact    // nil: not open
	closed   bool       // no more asking
	openings uint32
}

// NewTamper begins to watch lines of the machine at c.Root. It does not wait for them: whether they can be read, Lines
// tells.
func NewTamper(c Config, lines []TamperLine, log *slog.Logger) *Tamper {
	machine := New(c).root
	return newTamper(lines, log, func(l TamperLine) (contact, error) { return openLine(machine, l) })
}

func newTamper(lines []TamperLine, log *slog.Logger, open func(TamperLine) (contact, error)) *Tamper {
	t := &Tamper{log: log, open: open, wait: tamperWait}
	for _, l := range lines {
		w := &watched{TamperLine: l, turn: make(chan struct{}, 1)}
		t.lines = append(t.lines, w)
		w.turn <- struct{}{}
		go func() {
			if l := t.ask(w); l.Unavailable != nil {
				log.Warn("tamper line", "name", l.Name, "reason", l.Unavailable.Error())
			}
			<-w.turn
		}()
	}
	return t
}

// Lines returns the state of every line now, in the order of configuration.
func (t *Tamper) Lines(ctx context.Context) []proto.TamperLine {
	ctx, cancel := context.WithTimeout(ctx, t.wait)
	defer cancel()
	out := make([]proto.TamperLine, len(t.lines))
	var asked sync.WaitGroup
	for i, w := range t.lines {
		asked.Go(func() { out[i] = t.state(ctx, w) })
	}
	asked.Wait()
	return out
}

// state asks one line and waits for the answer as long as ctx allows.
func (t *Tamper) state(ctx context.Context, w *watched) proto.TamperLine {
	silent := func() proto.TamperLine {
		return w.unavailable(fmt.Errorf("%s: line %d does not answer", w.Chip, w.Line))
	}
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return silent()
	}
	answer := make(chan proto.TamperLine, 1)
	go func() {
		answer <- t.ask(w)
		<-w.turn
	}()
	select {
	case l := <-answer:
		return l
	case <-ctx.Done():
		return silent()
	}
}

// ask reads a line, and opens it first if need be. The caller has the turn.
func (t *Tamper) ask(w *watched) proto.TamperLine {
	w.mu.Lock()
	c, closed := w.contact, w.closed
	w.mu.Unlock()
	if closed {
		return w.unavailable(fs.ErrClosed)
	}
	var err error
	if c == nil {
		if c, err = t.open(w.TamperLine); err != nil {
			return w.unavailable(err)
		}
		if !w.use(c, t.log) {
			return w.unavailable(errors.Join(fs.ErrClosed, c.Close()))
		}
	}
	high, err := c.High()
	if err != nil {
		return w.unavailable(errors.Join(err, w.drop(c)))
	}
	out := proto.TamperLine{Name: w.Name, State: proto.TamperClosed}
	if high != w.ActiveLow {
		out.State = proto.TamperOpen
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out.Openings = w.openings
	return out
}

// use takes up an opened line and watches it. It reports false if the watch has ended.
func (w *watched) use(c contact, log *slog.Logger) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.contact = c
	if !c.Watched() {
		log.Warn("tamper line raises no interrupts: openings between two reports are not counted", "name", w.Name)
	}
	w.watcher.Go(func() { w.watch(c, log) })
	return true
}

// drop gives up a line that failed: the next report opens it anew.
func (w *watched) drop(c contact) error {
	w.mu.Lock()
	if w.contact == c {
		w.contact = nil
	}
	w.mu.Unlock()
	return c.Close()
}

// watch counts openings until the line fails or is closed. A contact bounces, so that one opening makes several edges:
// those that follow another one within bounce are not counted.
func (w *watched) watch(c contact, log *slog.Logger) {
	last := time.Duration(-bounce)
	for {
		high, at, err := c.Edge()
		if err != nil {
			w.mu.Lock()
			lost := w.contact == c
			w.mu.Unlock()
			if lost {
				log.Warn("tamper line is not watched until the next report", "name", w.Name, "reason", err)
				_ = w.drop(c) // the next report says what is wrong with it
			}
			return
		}
		opens := high != w.ActiveLow && at-last >= bounce
		last = at
		if !opens {
			continue
		}
		w.mu.Lock()
		if w.openings < 1<<32-1 {
			w.openings++
		}
		n := w.openings
		w.mu.Unlock()
		log.Warn("tamper line opened", "name", w.Name, "openings", n)
	}
}

// unavailable says why a line has no state.
func (w *watched) unavailable(err error) proto.TamperLine {
	un := unavailable(proto.CauseIO, "%v", err)
	switch {
	case isMissing(err):
		un.Cause = proto.CauseNotFound
	case errors.Is(err, fs.ErrPermission):
		un = unavailable(proto.CausePermission, "%v: let the agent read it (systemd: DeviceAllow=char-gpiochip r)", err)
	case errors.Is(err, errNoGPIO):
		un.Cause = proto.CauseNoSupport
	}
	un.Reason = clean([]byte(un.Reason), maxTamperReason)
	return proto.TamperLine{Name: w.Name, Unavailable: un}
}

// Close ends the watch. A line that hangs in its driver is left to the end of the process.
func (t *Tamper) Close() error {
	var errs []error
	for _, w := range t.lines {
		w.mu.Lock()
		c := w.contact
		w.contact, w.closed = nil, true
		w.mu.Unlock()
		if c != nil {
			errs = append(errs, c.Close())
			w.watcher.Wait()
		}
	}
	return errors.Join(errs...)
}
