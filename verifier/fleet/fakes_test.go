package fleet

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/link"
	"github.com/probity-attest/probity/verifier/store"
)

// faulty is a store whose calls a test can watch, delay or let fail.
type faulty struct {
	store.Store
	before func(op string) error // its error is returned and the call not made
	after  func(op string) error // its error is returned although the call was made
}

func through[T any](f *faulty, op string, call func() (T, error)) (T, error) {
	var zero T
	if f.before != nil {
		if err := f.before(op); err != nil {
			return zero, err
		}
	}
	v, err := call()
	if err == nil && f.after != nil {
		if err := f.after(op); err != nil {
			return zero, err
		}
	}
	return v, err
}

func (f *faulty) do(op string, call func() error) error {
	_, err := through(f, op, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

func (f *faulty) Device(ctx context.Context, tenant, id string) (store.Device, error) {
	return through(f, "Device", func() (store.Device, error) { return f.Store.Device(ctx, tenant, id) })
}

func (f *faulty) Devices(ctx context.Context, filter store.Filter) ([]store.Device, error) {
	return through(f, "Devices", func() ([]store.Device, error) { return f.Store.Devices(ctx, filter) })
}

func (f *faulty) Overdue(ctx context.Context, now time.Time, limit int) ([]store.Device, error) {
	return through(f, "Overdue", func() ([]store.Device, error) { return f.Store.Overdue(ctx, now, limit) })
}

func (f *faulty) SaveDevice(ctx context.Context, d store.Device, events ...store.Event) (int64, error) {
	return through(f, "SaveDevice", func() (int64, error) { return f.Store.SaveDevice(ctx, d, events...) })
}

func (f *faulty) RemoveDevice(ctx context.Context, tenant, id string, events ...store.Event) error {
	return f.do("RemoveDevice", func() error { return f.Store.RemoveDevice(ctx, tenant, id, events...) })
}

func (f *faulty) Record(ctx context.Context, o store.Outcome, events ...store.Event) error {
	return f.do("Record", func() error { return f.Store.Record(ctx, o, events...) })
}

func (f *faulty) Evidence(ctx context.Context, tenant, device, digest string) ([]byte, error) {
	return through(f, "Evidence", func() ([]byte, error) { return f.Store.Evidence(ctx, tenant, device, digest) })
}

func (f *faulty) Content(ctx context.Context, digest [32]byte) ([]byte, error) {
	return through(f, "Content", func() ([]byte, error) { return f.Store.Content(ctx, digest) })
}

func (f *faulty) PutContent(ctx context.Context, digest [32]byte, content []byte) error {
	return f.do("PutContent", func() error { return f.Store.PutContent(ctx, digest, content) })
}

func (f *faulty) References(ctx context.Context, tenant string) ([]store.Reference, error) {
	return through(f, "References", func() ([]store.Reference, error) { return f.Store.References(ctx, tenant) })
}

func (f *faulty) AddReference(ctx context.Context, r store.Reference, events ...store.Event) error {
	return f.do("AddReference", func() error { return f.Store.AddReference(ctx, r, events...) })
}

func (f *faulty) AddEvent(ctx context.Context, e store.Event) error {
	return f.do("AddEvent", func() error { return f.Store.AddEvent(ctx, e) })
}

// sent is something that the fleet sent.
type sent struct {
	to      proto.Address
	message link.Message
	payload []byte // of a retained result
}

// sender is a Sender that remembers.
type sender struct {
	mu        sync.Mutex
	all       []sent
	published map[string]string // device: result that a subscriber would get
	err       error             // of every call
	before    func(to proto.Address)
}

func (s *sender) Send(_ context.Context, to proto.Address, m link.Message) error {
	if _, err := proto.Encode(m); err != nil { // what link.Link does
		return err
	}
	return s.keep(sent{to: to, message: m})
}

func (s *sender) Retain(_ context.Context, to proto.Address, payload []byte) error {
	return s.keep(sent{to: to, payload: payload})
}

func (s *sender) keep(m sent) error {
	if s.before != nil {
		s.before(m.to)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.all = append(s.all, m)
	if m.message == nil {
		s.published[m.to.Device] = string(m.payload)
	}
	return nil
}

// take returns what was sent to a device on a leaf, and forgets it.
func (s *sender) take(device string, leaf proto.Leaf) []sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []sent
	s.all = slices.DeleteFunc(s.all, func(m sent) bool {
		match := m.to.Device == device && m.to.Leaf == leaf
		if match {
			out = append(out, m)
		}
		return match
	})
	return out
}

// enroller answers every enrolment message alike.
type enroller struct {
	down *proto.EnrollDown
	err  error
}

func (e *enroller) Handle(context.Context, string, string, *proto.EnrollUp) (*proto.EnrollDown, error) {
	return e.down, e.err
}

// clock is a clock that only tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
