package collect

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/proto"
)

// fakeFlash is a machine with chips in memory.
type fakeFlash struct {
	mu      sync.Mutex
	regions []flash.Region
	notes   []error
	chips   map[string]*fakeChip // by source
	expand  map[string][]flash.Region
}

type fakeChip struct {
	m          *fakeFlash
	data       []byte
	generation string
	fail       error         // of opening
	hangs      bool          // reading does
	hang       chan struct{} // made when it does
	reads      int           // that began
	open       int
}

func newFakeFlash(sizes ...int) *fakeFlash {
	m := &fakeFlash{chips: map[string]*fakeChip{}}
	for i, n := range sizes {
		name := fmt.Sprintf("mtd%d", i)
		r := flash.Region{Name: fmt.Sprintf("part%d", i), Source: flash.Source{Kind: flash.MTD, Name: name}}
		m.regions = append(m.regions, r)
		m.chips[r.Source.String()] = &fakeChip{m: m, data: bytes.Repeat([]byte{0xa5, byte(i)}, n/2)}
	}
	return m
}

func (m *fakeFlash) do(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *fakeFlash) chip(n int) *fakeChip { return m.chips[fmt.Sprintf("mtd:mtd%d", n)] }

func (m *fakeFlash) Discover() ([]flash.Region, []error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.regions, m.notes
}

func (m *fakeFlash) Expand(r flash.Region) ([]flash.Region, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if out, ok := m.expand[r.Name]; ok {
		if out == nil {
			return nil, fmt.Errorf("region %q: no file matches: %w", r.Name, fs.ErrNotExist)
		}
		return out, nil
	}
	return []flash.Region{r}, nil
}

func (m *fakeFlash) Open(s flash.Source) (flash.Reader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.chips[s.String()]
	if c == nil {
		return nil, fmt.Errorf("%v: %w", s, fs.ErrNotExist)
	}
	if c.fail != nil {
		return nil, c.fail
	}
	c.open++
	return c, nil
}

func (c *fakeChip) ReadAt(b []byte, at int64) (int, error) {
	c.m.mu.Lock()
	if c.hangs && c.hang == nil {
		c.hang = make(chan struct{})
	}
	hang := c.hang
	c.m.mu.Unlock()
	if hang != nil {
		<-hang
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if at == 0 {
		c.reads++
	}
	if n := copy(b, c.data[at:]); n < len(b) {
		return n, io.EOF
	}
	return len(b), nil
}

// opened returns how many readers are open.
func (c *fakeChip) opened() int {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	return c.open
}

// count returns how many reads of the whole began.
func (c *fakeChip) count() int {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	return c.reads
}

// release ends the hanging.
func (c *fakeChip) release() {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.hangs = false
	if c.hang != nil {
		close(c.hang)
		c.hang = nil
	}
}

func (c *fakeChip) Close() error         { c.m.do(func() { c.open-- }); return nil }
func (c *fakeChip) Size() uint64         { return uint64(len(c.data)) }
func (c *fakeChip) Describe() flash.Chip { return flash.Chip{Kind: flash.MTD, JEDEC: "ef4018"} }

func (c *fakeChip) Generation() (string, bool) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	return c.generation, c.generation != ""
}

// flashRig is a Flash over a fake, in a bubble of its own time.
type flashRig struct {
	*testing.T
	*Flash
	changes int
	log     *bytes.Buffer
	status  []string
}

// inBubble runs a test of a Flash. cfg gets what the rig needs.
func inBubble(t *testing.T, m flashMachine, cfg FlashConfig, test func(*flashRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &flashRig{T: t, log: &bytes.Buffer{}}
		cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
		cfg.Changed = func() { r.changes++ }
		cfg.Status = func(s string) { r.status = append(r.status, s) }
		r.Flash = newFlash(cfg, m)
		defer func() { // or the bubble never ends after a failure
			r.stop()
			if f, ok := m.(*fakeFlash); ok {
				for _, c := range f.chips {
					c.release()
				}
			}
		}()
		test(r)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if f, ok := m.(*fakeFlash); ok {
			for name, c := range f.chips {
				if c.open != 0 {
					t.Errorf("%s: %d readers are open at the end", name, c.open)
				}
			}
		}
	})
}

// get returns what Regions says, decoded.
func (r *flashRig) get() ([]proto.FlashRegion, time.Duration) {
	r.Helper()
	b, age, un := r.Regions()
	if un != nil || b == nil {
		r.Fatalf("Regions = %x, %v, want regions", b, un)
	}
	var m proto.Flash
	if err := proto.Decode(b, &m); err != nil {
		r.Fatal(err)
	}
	return m.Regions, age
}

// later lets time go by.
func (r *flashRig) later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
