package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Hub tells the streams of the API what happens. It follows the log of events in the store while somebody listens, so
// that it knows what other processes on the same store did too, and hands on what it is told with Tell.
//
// Nobody who listens can hold up anybody: what one does not take in time is replaced by the news that it missed
// something. Its methods are safe for concurrent use.
type Hub struct {
	store store.Store
	log   *slog.Logger
	now   func() time.Time
	pace  time.Duration // between two looks into the store
	beat  time.Duration // between two signs of life of a stream

	mu     sync.Mutex
	rooms  map[string]*room // by tenant; while somebody listens
	counts map[string]int   // listeners by tenant and principal
	total  int
}

// room is those who listen to one tenant.
type room struct {
	listeners map[*listener]bool
	stop      context.CancelFunc
	watched   map[string]glimpse // devices that somebody listens to, as they were last seen
}

// glimpse is what changes when anything of a device does.
type glimpse struct {
	version int64
	state   result.State
}

// message is one event of a stream.
type message struct {
	seq  int64 // 0: not in the log of events
	kind string
	// device is what it is about; empty: not about one.
	device string
	data   []byte
}

// listener is one open stream.
type listener struct {
	owner, tenant string
	device        string // all that it wants to hear of; empty: everything
	from          int64  // newest event when it began to listen
	news          chan message
	missed        atomic.Bool
}

// Reasons why a stream is not opened.
var (
	errManyStreams = errors.New("too many streams of one principal")
	errFull        = errors.New("too many streams")
)

// NewHub returns a Hub that follows a store. Nil log and now have the same meaning as in Config.
func NewHub(s store.Store, log *slog.Logger, now func() time.Time) *Hub {
	if log == nil {
		log = slog.Default()
	}
	if now == nil {
		now = time.Now
	}
	return &Hub{
		store: s, log: log, now: now, pace: streamPace, beat: streamBeat, rooms: map[string]*room{}, counts: map[string]int{},
	}
}

// Tell tells the streams of a tenant what the log of events does not have. kind is one of v1's kinds of events.
func (h *Hub) Tell(tenant, kind string, c v1.StreamChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rooms[tenant]; r != nil {
		r.tell(newMessage(kind, c))
	}
}

// listen opens a stream for owner, a principal of the tenant. leave ends it.
func (h *Hub) listen(ctx context.Context, tenant, owner, device string) (*listener, error) {
	from, err := h.store.LastEvent(ctx, tenant)
	if err != nil {
		return nil, err
	}
	l := &listener{
		owner: tenant + "\x00" + owner, tenant: tenant, device: device, from: from, news: make(chan message, streamQueue),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.counts[l.owner] >= maxStreamsEach {
		return nil, errManyStreams
	}
	if h.total >= maxStreams {
		return nil, errFull
	}
	h.counts[l.owner]++
	h.total++
	r := h.rooms[tenant]
	if r == nil {
		// It ends with the last listener, not with the first.
		follow, stop := context.WithCancel(context.WithoutCancel(ctx))
		r = &room{listeners: map[*listener]bool{}, watched: map[string]glimpse{}, stop: stop}
		h.rooms[tenant] = r
		go h.follow(follow, tenant, r, from)
	}
	r.listeners[l] = true
	return l, nil
}

func (h *Hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[l.tenant]
	if r == nil || !r.listeners[l] {
		return
	}
	delete(r.listeners, l)
	h.total--
	if h.counts[l.owner]--; h.counts[l.owner] == 0 {
		delete(h.counts, l.owner)
	}
	if len(r.listeners) == 0 {
		r.stop()
		delete(h.rooms, l.tenant)
	}
}

// follow reads the log of events from seq on, and the devices that somebody listens to, until ctx ends.
func (h *Hub) follow(ctx context.Context, tenant string, r *room, seq int64) {
	tick := time.NewTicker(h.pace)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next, err := h.look(ctx, tenant, r, seq)
		if err == nil {
			err = h.glance(ctx, tenant, r)
		}
		if err != nil && ctx.Err() == nil && !failing {
			h.log.Warn("streams tell nothing while the store fails, and what they missed afterwards", "tenant", tenant, "error", err)
		}
		seq, failing = next, err != nil
	}
}

// look tells what is new in the log and returns how far it has read.
func (h *Hub) look(ctx context.Context, tenant string, r *room, seq int64) (int64, error) {
	events, err := h.store.EventsAfter(ctx, tenant, seq, streamPage)
	if err != nil || len(events) == 0 {
		return seq, err
	}
	messages, err := h.messages(ctx, tenant, events)
	if err != nil {
		return seq, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range messages {
		r.tell(m)
	}
	return events[len(events)-1].Seq, nil
}

// glance tells which of the devices that somebody listens to changed in any way, of which the log has only what
// matters.
func (h *Hub) glance(ctx context.Context, tenant string, r *room) error {
	for _, id := range h.wanted(r) {
		d, err := h.store.Device(ctx, tenant, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		now := glimpse{d.Version, d.Current(h.now())}
		h.mu.Lock()
		before, known := r.watched[id]
		r.watched[id] = now
		if known && before != now {
			m := newMessage(v1.StreamDevice, v1.StreamChange{Device: id, State: now.state})
			for l := range r.listeners {
				if l.device == id {
					l.tell(m)
				}
			}
		}
		h.mu.Unlock()
	}
	return nil
}

// wanted returns the devices that somebody listens to, and forgets the others.
func (h *Hub) wanted(r *room) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for l := range r.listeners {
		if l.device != "" && !slices.Contains(ids, l.device) {
			ids = append(ids, l.device)
		}
	}
	for id := range r.watched {
		if !slices.Contains(ids, id) {
			delete(r.watched, id)
		}
	}
	return ids
}

// tell hands on a message. The hub is locked.
func (r *room) tell(m message) {
	for l := range r.listeners {
		if l.device == "" || l.device == m.device {
			l.tell(m)
		}
	}
}

func (l *listener) tell(m message) {
	select {
	case l.news <- m:
	default:
		l.missed.Store(true)
	}
}

// messages says what events of the log mean to those who listen: the newest of each device, and one for all devices
// where there are many. They are in the order of the log.
func (h *Hub) messages(ctx context.Context, tenant string, events []store.Event) ([]message, error) {
	newest, last := map[string]int64{}, int64(0) // of each device, and of all
	for _, e := range events {
		if streamKind(e) == v1.StreamDevice {
			newest[e.Device], last = e.Seq, e.Seq
		}
	}
	many := len(newest) > streamBurst
	var out []message
	for _, e := range events {
		kind := streamKind(e)
		c := v1.StreamChange{Seq: e.Seq, Device: e.Device, Kind: e.Kind}
		switch {
		case kind != v1.StreamDevice:
		case many && e.Seq == last:
			kind, c = v1.StreamFleet, v1.StreamChange{Seq: last, Devices: len(newest)}
		case many, newest[e.Device] != e.Seq:
			continue
		default:
			d, err := h.store.Device(ctx, tenant, e.Device)
			if err == nil {
				c.State = d.Current(h.now())
			} else if !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
		}
		out = append(out, newMessage(kind, c))
	}
	return out, nil
}

// manifestKinds are how the names of events begin that are about what devices are compared with.
var manifestKinds = []string{"manifest", "vendor-key", "denial", "denied", "reference", "baseline", "choice", "approval"}

// streamKind returns as what an event of the log is told.
func streamKind(e store.Event) string {
	begins := func(prefix string) bool { return strings.HasPrefix(e.Kind, prefix) }
	switch {
	case slices.ContainsFunc(manifestKinds, begins):
		return v1.StreamManifest
	case begins("alert"):
		return v1.StreamAlert
	case e.Device != "":
		return v1.StreamDevice
	}
	return v1.StreamFleet
}

func newMessage(kind string, c v1.StreamChange) message {
	data, _ := json.Marshal(c) // plain values: it cannot fail
	return message{seq: c.Seq, kind: kind, device: c.Device, data: v1.EscapeJSON(data)}
}
