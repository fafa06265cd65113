package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
)

func TestParseTamperLine(t *testing.T) {
	for s, want := range map[string]TamperLine{
		"enclosure=gpiochip0:17:active-high":           {Name: "enclosure", Chip: "gpiochip0", Line: 17},
		"lid.2_left-A=gpiochip12:0:active-low":         {Name: "lid.2_left-A", Chip: "gpiochip12", ActiveLow: true},
		"lid=gpiochip1:3:active-low:pull-up":           {Name: "lid", Chip: "gpiochip1", Line: 3, ActiveLow: true, Pull: PullUp},
		"enclosure=gpiochip0:17:active-high:pull-down": {Name: "enclosure", Chip: "gpiochip0", Line: 17, Pull: PullDown},
	} {
		got, err := ParseTamperLine(s)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("ParseTamperLine(%q): %v (-want +got):\n%s", s, err, diff)
		}
		if got.String() != s {
			t.Errorf("String = %q, want %q", got, s)
		}
	}
	for s, want := range map[string]string{
		"":                                     "not all its parts",
		"gpiochip0:17:active-high":             "not all its parts",
		"a=gpiochip0:17":                       "not all its parts",
		"a=gpiochip0:17:active-high:pull-up:x": "too many",
		"=gpiochip0:17:active-high":            "the name must be",
		"a b=gpiochip0:17:active-high":         "the name must be",
		strings.Repeat("a", 65) + "=gpiochip0:17:active-high": "the name must be",
		"a=gpio0:17:active-high":                              "none of gpiochip0",
		"a=gpiochip:17:active-high":                           "none of gpiochip0",
		"a=gpiochip00:17:active-high":                         "none of gpiochip0",
		"a=gpiochip0/../mem:17:active-high":                   "none of gpiochip0",
		"a=/dev/gpiochip0:17:active-high":                     "none of gpiochip0",
		"a=gpiochip0:-1:active-high":                          "number of a line",
		"a=gpiochip0:0x11:active-high":                        "number of a line",
		"a=gpiochip0:017:active-high":                         "number of a line",
		"a=gpiochip0:65536:active-high":                       "number of a line",
		"a=gpiochip0:17:high":                                 "neither active-high",
		"a=gpiochip0:17:active-high:up":                       "neither pull-up",
	} {
		if got, err := ParseTamperLine(s); err == nil || got != (TamperLine{}) || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "want NAME=CHIP:LINE:ACTIVE") {
			t.Errorf("ParseTamperLine(%q) = %+v, %v, want %q in the error", s, got, err, want)
		}
	}
}

func TestParseTamperLines(t *testing.T) {
	many := make([]string, proto.MaxTamperLines+1)
	for i := range many {
		many[i] = fmt.Sprintf("l%d=gpiochip0:%d:active-high", i, i)
	}
	if got, err := ParseTamperLines(many[:proto.MaxTamperLines]); err != nil || len(got) != proto.MaxTamperLines {
		t.Errorf("ParseTamperLines = %v, %v", got, err)
	}
	for want, list := range map[string][]string{
		"9 tamper lines":    many,
		"the same name":     {many[0], "l0=gpiochip1:5:active-low"},
		"are the same line": {many[0], "other=gpiochip0:0:active-low"},
		"not all its parts": {many[0], ""},
	} {
		if got, err := ParseTamperLines(list); err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTamperLines(%q) = %v, %v, want %q in the error", list, got, err, want)
		}
	}
}

// fakeGPIO is a chip whose levels a test sets. It behaves as a kernel does: an edge for every change of an open line, a
// line that is open for one only.
type fakeGPIO struct {
	mu    sync.Mutex
	lines map[int]*fakeLine // those that are open
	level map[int]bool
	fail  error // of opening
	opens int
}

type fakeLine struct {
	g     *fakeGPIO
	n     int
	edges chan fakeEdge
	ended chan struct{}
	fail  error         // of reading
	hang  chan struct{} // reading waits for it
}

type fakeEdge struct {
	high bool
	at   time.Time
}

func newFakeGPIO() *fakeGPIO {
	return &fakeGPIO{lines: map[int]*fakeLine{}, level: map[int]bool{}}
}

func (g *fakeGPIO) open(l TamperLine) (contact, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opens++
	if g.fail != nil {
		return nil, g.fail
	}
	if g.lines[l.Line] != nil {
		return nil, errors.New("device or resource busy")
	}
	f := &fakeLine{g: g, n: l.Line, edges: make(chan fakeEdge, 64), ended: make(chan struct{})}
	g.lines[l.Line] = f
	return f, nil
}

func (g *fakeGPIO) set(n int, high bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.level[n] != high {
		g.level[n] = high
		if f := g.lines[n]; f != nil {
			f.edges <- fakeEdge{high, time.Now()}
		}
	}
}

func (g *fakeGPIO) do(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (f *fakeLine) High() (bool, error) {
	f.g.mu.Lock()
	defer f.g.mu.Unlock()
	if f.hang != nil {
		f.g.mu.Unlock()
		<-f.hang
		f.g.mu.Lock()
	}
	return f.g.level[f.n], f.fail
}

func (f *fakeLine) Edge() (bool, time.Duration, error) {
	select {
	case e := <-f.edges:
		return e.high, time.Duration(e.at.UnixNano()), nil
	case <-f.ended:
		return false, 0, fs.ErrClosed
	}
}

func (f *fakeLine) Watched() bool { return true }

func (f *fakeLine) Close() error {
	f.g.mu.Lock()
	defer f.g.mu.Unlock()
	if f.g.lines[f.n] == f {
		delete(f.g.lines, f.n)
		close(f.ended)
	}
	return nil
}

// tamperRig is a Tamper over a fake, in a bubble of its own time.
func tamperRig(t *testing.T, g *fakeGPIO, list ...string) *Tamper {
	t.Helper()
	lines, err := ParseTamperLines(list)
	if err != nil {
		t.Fatal(err)
	}
	w := newTamper(lines, slog.New(slog.DiscardHandler), g.open)
	synctest.Wait()
	return w
}

// wantLines compares and checks that the lines can be sent.
func wantLines(t *testing.T, w *Tamper, want ...proto.TamperLine) {
	t.Helper()
	synctest.Wait()
	got := w.Lines(t.Context())
	reason := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Reason" }, cmp.Comparer(func(a, b string) bool {
		return strings.Contains(a, b) || strings.Contains(b, a)
	}))
	if diff := cmp.Diff(want, got, reason); diff != "" {
		t.Errorf("Lines (-want +got):\n%s", diff)
	}
	claims := proto.Claims{BootID: make([]byte, proto.BootIDSize), Tamper: got}
	claims.BootLog.Unavailable = &proto.Unavailable{Cause: proto.CauseIO, Reason: "x"}
	claims.Platform = claims.BootLog
	if _, err := proto.Encode(&claims); err != nil {
		t.Error(err)
	}
}

func state(name string, s proto.TamperState, openings uint32) proto.TamperLine {
	return proto.TamperLine{Name: name, State: s, Openings: openings}
}

func TestTamper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGPIO()
		g.set(2, true)
		w := tamperRig(t, g, "lid=gpiochip0:1:active-high", "door=gpiochip0:2:active-low")
		wantLines(t, w, state("lid", proto.TamperClosed, 0), state("door", proto.TamperClosed, 0))

		g.set(1, true) // opened and closed between two reports
		time.Sleep(time.Second)
		g.set(1, false)
		wantLines(t, w, state("lid", proto.TamperClosed, 1), state("door", proto.TamperClosed, 0))

		g.set(2, false) // opened, and stays so
		time.Sleep(time.Second)
		wantLines(t, w, state("lid", proto.TamperClosed, 1), state("door", proto.TamperOpen, 1))

		for range 4 { // one opening that bounces, both ways
			g.set(1, true)
			time.Sleep(time.Millisecond)
			synctest.Wait()
			g.set(1, false)
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		wantLines(t, w, state("lid", proto.TamperClosed, 2), state("door", proto.TamperOpen, 1))
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if len(g.lines) != 0 {
			t.Error("lines stay open after Close")
		}
		for _, l := range w.Lines(t.Context()) {
			if l.Unavailable == nil {
				t.Errorf("line %+v after Close", l)
			}
		}
	})
}

func TestTamperUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGPIO()
		w := tamperRig(t, g, "lid=gpiochip0:1:active-high")
		defer w.Close()
		unavailable := func(cause proto.Cause, reason string) {
			t.Helper()
			wantLines(t, w, proto.TamperLine{Name: "lid", Unavailable: &proto.Unavailable{Cause: cause, Reason: reason}})
		}
		g.set(1, true)
		time.Sleep(time.Second)
		g.set(1, false)
		wantLines(t, w, state("lid", proto.TamperClosed, 1))

		// An expander that does not answer any more is no closed enclosure. The line is opened anew each time.
		g.do(func() { g.lines[1].fail = errors.New("remote I/O error") })
		unavailable(proto.CauseIO, "remote I/O error")
		for cause, fail := range map[proto.Cause]error{
			proto.CauseNotFound:   fmt.Errorf("open /dev/gpiochip0: %w", fs.ErrNotExist),
			proto.CausePermission: fmt.Errorf("open /dev/gpiochip0: %w", fs.ErrPermission),
			proto.CauseNoSupport:  errNoGPIO,
			proto.CauseIO:         errors.New("device or resource busy" + strings.Repeat("!", 2000)),
		} {
			g.do(func() { g.fail = fail })
			unavailable(cause, fail.Error()[:20])
		}
		g.do(func() { g.fail = nil })
		wantLines(t, w, state("lid", proto.TamperClosed, 1)) // what was counted stays
		if g.opens != 6 {
			t.Errorf("line was opened %d times, want once for each report that found it closed", g.opens)
		}
	})
}

// A line that is lost while nobody asks is watched again from the next report on.
func TestTamperLineIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGPIO()
		w := tamperRig(t, g, "lid=gpiochip0:1:active-high")
		defer w.Close()
		var lost *fakeLine
		g.do(func() { lost = g.lines[1] })
		if err := lost.Close(); err != nil { // as when a driver is removed
			t.Fatal(err)
		}
		synctest.Wait()
		wantLines(t, w, state("lid", proto.TamperClosed, 0))
		g.set(1, true)
		wantLines(t, w, state("lid", proto.TamperOpen, 1))
	})
}

// A line that hangs in its driver delays a report by a bounded time, and no other line.
func TestTamperHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGPIO()
		w := tamperRig(t, g, "lid=gpiochip0:1:active-high", "door=gpiochip0:2:active-high")
		hang := make(chan struct{})
		g.do(func() { g.lines[1].hang = hang })
		silent := proto.TamperLine{Name: "lid", Unavailable: &proto.Unavailable{Cause: proto.CauseIO, Reason: "line 1 does not answer"}}
		for range 2 {
			began := time.Now()
			wantLines(t, w, silent, state("door", proto.TamperClosed, 0))
			if d := time.Since(began); d != tamperWait {
				t.Errorf("report waited %s, want %s", d, tamperWait)
			}
		}
		g.do(func() { g.lines[1].hang = nil })
		close(hang)
		wantLines(t, w, state("lid", proto.TamperClosed, 0), state("door", proto.TamperClosed, 0))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if l := w.Lines(ctx); len(l) != 2 {
			t.Errorf("Lines after the end of its context = %v, want both lines", l)
		}
		synctest.Wait()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// All that eight lines can say fits beside everything else that claims say.
func TestTamperFitsIntoClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGPIO()
		g.fail = errors.New(strings.Repeat("x", 4000))
		var list []string
		for i := range proto.MaxTamperLines {
			list = append(list, fmt.Sprintf("%s%d=gpiochip0:%d:active-high", strings.Repeat("n", maxTamperName-1), i, i))
		}
		w := tamperRig(t, g, list...)
		long := &proto.Unavailable{Cause: proto.CauseNotAllowed, Reason: strings.Repeat("x", proto.MaxReason)}
		claims := proto.Claims{
			Agent: strings.Repeat("v", proto.MaxText), BootID: make([]byte, proto.BootIDSize), Tamper: w.Lines(t.Context()),
			BootLog: proto.Item{Unavailable: long}, Platform: proto.Item{Unavailable: long},
			IMA: proto.IMAStatus{Unavailable: long}, Flash: &proto.FlashStatus{Regions: proto.Item{Unavailable: long}},
		}
		b, err := proto.Encode(&claims)
		if err != nil || len(b) > proto.MaxClaims {
			t.Errorf("%d bytes, %v, want at most %d", len(b), err, proto.MaxClaims)
		}
	})
}
