package fleet

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/store"
)

// gate lets a test hold up those who read reference values.
type gate struct {
	entered chan struct{} // one for each that came
	open    chan error    // what each is answered
	came    atomic.Int32
}

func newGate(r *rig) *gate {
	g := &gate{entered: make(chan struct{}, 100), open: make(chan error)}
	r.store.before = func(op string) error {
		if op != "References" {
			return nil
		}
		g.came.Add(1)
		g.entered <- struct{}{}
		return <-g.open
	}
	return g
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing happened", what)
		panic("unreachable")
	}
}

// stored signs a baseline for a device that only ever was thought of, and stores it.
func (r *rig) stored(name string) {
	r.Helper()
	b := reference.Baseline{
		Name: name, Tenant: tenant, Vendor: "Acme", Model: "R7", Created: r.clock.Now(),
		Inventory: []reference.Device{{Bus: "i2c", Address: "3-0050", Name: "24c02"}},
	}
	document, err := reference.Sign(b, r.key)
	if err != nil {
		r.Fatal(err)
	}
	err = r.store.Store.AddReference(r.Context(), store.Reference{Tenant: tenant, Name: name, Kind: "baseline", Document: document, Created: b.Created})
	if err != nil {
		r.Fatal(err)
	}
}

type answer struct {
	set *reference.Set
	err error
}

// ask asks for the references and returns where the answer will be.
func (r *rig) ask(ctx context.Context) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		set, err := r.references.set(ctx, tenant)
		c <- answer{set, err}
	}()
	return c
}

func documentsOf(s *reference.Set) int { return len(s.For("Acme", "R7").Documents()) }

// TestCompilingDoesNotBlock: while one compiles, others work with what there was, but not for long.
func TestCompilingDoesNotBlock(t *testing.T) {
	r := newRig(t)
	r.stored("one")
	old, err := r.references.set(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(r)
	r.stored("two")
	r.references.changed(tenant)
	compiling := r.ask(t.Context())
	await(t, "compiling", g.entered)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if got := await(t, "set while another compiles", r.ask(over)); got.err != nil || got.set != old {
		t.Errorf("set while another compiles = %p, %v, want what there was, %p", got.set, got.err, old)
	}
	r.clock.advance(referenceStale)
	if got := await(t, "set while another compiles for long", r.ask(over)); !errors.Is(got.err, context.Canceled) {
		t.Errorf("set while another compiles for long = %p, %v, want to wait for it", got.set, got.err)
	}
	g.open <- nil
	if got := await(t, "set", compiling); got.err != nil || documentsOf(got.set) != 2 {
		t.Errorf("set = %v, %v, want both documents", got.set, got.err)
	}
	if n := g.came.Load(); n != 1 {
		t.Errorf("the store was asked %d times, want once", n)
	}
}

// TestCompilingOnce: those who come first wait for one who compiles.
func TestCompilingOnce(t *testing.T) {
	r := newRig(t)
	r.stored("one")
	g := newGate(r)
	first := r.ask(t.Context())
	await(t, "compiling", g.entered)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got := <-r.ask(t.Context()); got.err != nil || documentsOf(got.set) != 1 {
				t.Errorf("set = %v, %v, want one document", got.set, got.err)
			}
		})
	}
	g.open <- nil
	all.Wait()
	if got := await(t, "first", first); got.err != nil {
		t.Error(got.err)
	}
	if n := g.came.Load(); n != 1 {
		t.Errorf("the store was asked %d times, want once", n)
	}
}

// TestCompilingFails: a store that cannot be asked gives no references, not even old ones to whoever asked it; who was
// called off lets another try; what changes meanwhile is not lost.
func TestCompilingFails(t *testing.T) {
	r := newRig(t)
	r.stored("one")
	if _, err := r.references.set(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	g := newGate(r)
	r.references.changed(tenant)
	broken := errors.New("disk on fire")
	c := r.ask(t.Context())
	await(t, "compiling", g.entered)
	g.open <- broken
	if got := await(t, "set", c); !errors.Is(got.err, broken) {
		t.Errorf("set = %v, %v, want the store's error", got.set, got.err)
	}
	r.clock.advance(referenceStale)
	c = r.ask(t.Context())
	await(t, "compiling", g.entered)
	waiting := r.ask(t.Context())
	g.open <- context.Canceled // as for a caller that is gone
	if got := await(t, "set", c); !errors.Is(got.err, context.Canceled) {
		t.Errorf("set = %v, %v, want canceled", got.set, got.err)
	}
	await(t, "another compiling", g.entered)
	r.stored("two")
	r.references.changed(tenant)
	g.open <- nil
	if got := await(t, "set", waiting); got.err != nil {
		t.Errorf("set = %v after another was called off", got.err)
	}
	c = r.ask(t.Context())
	await(t, "compiling after a change", g.entered)
	g.open <- nil
	if got := await(t, "set", c); got.err != nil || documentsOf(got.set) != 2 {
		t.Errorf("set = %v, %v, want both documents", got.set, got.err)
	}
}
