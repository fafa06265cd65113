package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/api"
	"github.com/probity-attest/probity/verifier/api/apitest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// heard is an event of a stream as a client hears it.
type heard struct {
	ID, Event string
	v1.StreamChange
}

// listening is an API whose hub looks often, on a real connection.
type listening struct {
	*harness
	hub *api.Hub
	url string
}

func newListening(t *testing.T) *listening {
	t.Helper()
	var hub *api.Hub
	h := newHarness(t, func(c *api.Config) {
		hub = api.NewHub(c.Store, c.Log, nil)
		hub.Quicken()
		c.Hub = hub
	})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &listening{h, hub, server.URL}
}

// tune is an open stream.
type tune struct {
	*testing.T
	res   *http.Response
	lines *bufio.Scanner
}

// tune opens a stream. query is appended to the path, last is the id of the last event that was heard.
func (l *listening) tune(t *testing.T, token, query, last string) *tune {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", l.url+"/v1/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != "text/event-stream" {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("stream: status %d, type %s, %s", res.StatusCode, got, b)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	return &tune{t, res, lines}
}

// next returns the next event.
func (s *tune) next() heard {
	s.Helper()
	h, err := s.read()
	if err != nil {
		s.Fatal(err)
	}
	return h
}

func (s *tune) read() (h heard, err error) {
	var data string
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "id":
			h.ID = value
		case "event":
			h.Event = value
		case "data":
			data = value
		case "":
			if data != "" {
				return h, json.Unmarshal([]byte(data), &h.StreamChange)
			}
		}
	}
	return h, fmt.Errorf("the stream ended: %w", s.lines.Err())
}

// ended waits for the end of the stream.
func (s *tune) ended() {
	s.Helper()
	if h, err := s.read(); err == nil {
		s.Errorf("heard %+v, want the end of the stream", h)
	} else if strings.Contains(err.Error(), "deadline") {
		s.Errorf("the stream did not end: %v", err)
	}
}

func (l *listening) event(t *testing.T, tenant, device, kind string) {
	t.Helper()
	e := store.Event{At: time.Now(), Tenant: tenant, Device: device, Kind: kind, Actor: "verifier", Detail: "x"}
	if err := l.store.AddEvent(context.Background(), e); err != nil {
		t.Fatal(err)
	}
}

func TestStreamTellsWhatHappens(t *testing.T) {
	l := newListening(t)
	d := apitest.AddDevice(t, l.store, store.Device{ID: apitest.ID("one"), State: result.Untrusted})
	s := l.tune(t, l.token, "", "")
	l.event(t, "rival", apitest.ID("theirs"), "state-changed")
	l.event(t, apitest.Tenant, d.ID, "state-changed")
	got := s.next()
	want := heard{got.ID, "device", v1.StreamChange{Seq: got.Seq, Device: d.ID, State: result.Untrusted, Kind: "state-changed"}}
	if diff := cmp.Diff(want, got); diff != "" || got.ID != strconv.FormatInt(got.Seq, 10) || got.Seq == 0 {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	for _, e := range []struct{ device, kind, want string }{
		{"", "policy-set", "fleet"},
		{"", "manifest-changed", "manifest"},
		{d.ID, "baseline-created", "manifest"},
		{"", "alert-acknowledged", "alert"},
		{d.ID, "evidence-rejected", "device"},
		{apitest.ID("gone"), "removed", "device"},
	} {
		l.event(t, apitest.Tenant, e.device, e.kind)
		if got := s.next(); got.Event != e.want || got.Kind != e.kind || got.Device != e.device {
			t.Errorf("event of kind %s of device %q = %+v, want %s", e.kind, e.device, got, e.want)
		}
	}
	l.hub.Tell("rival", v1.StreamAudit, v1.StreamChange{Kind: "theirs"})
	l.hub.Tell(apitest.Tenant, v1.StreamAudit, v1.StreamChange{Kind: "ours"})
	if got := s.next(); got.Event != "audit" || got.Kind != "ours" || got.ID != "" {
		t.Errorf("told = %+v", got)
	}
}

// A client that comes back hears what it missed, once, and goes on without a gap.
func TestStreamContinues(t *testing.T) {
	l := newListening(t)
	for range 3 {
		l.event(t, apitest.Tenant, "", "policy-set")
	}
	first := l.tune(t, l.token, "", "0")
	var ids []string
	for range 3 {
		ids = append(ids, first.next().ID)
	}
	again := l.tune(t, l.token, "", ids[0])
	for _, want := range ids[1:] {
		if got := again.next(); got.ID != want || got.Missed {
			t.Errorf("heard %+v, want event %s", got, want)
		}
	}
	l.event(t, apitest.Tenant, "", "policy-set")
	if a, b := first.next(), again.next(); a != b || a.ID == ids[2] {
		t.Errorf("two streams hear %+v and %+v", a, b)
	}
	// An id of another database, or of the future, must not silence the stream.
	future := l.tune(t, l.token, "", "999999")
	if got := future.next(); !got.Missed {
		t.Errorf("heard %+v, want that something was missed", got)
	}
	l.event(t, apitest.Tenant, "", "policy-set")
	if got := future.next(); got.Kind != "policy-set" {
		t.Errorf("heard %+v, want the new event", got)
	}
}

// Who was away for too long, and who listens while very much happens, is told to read again instead of everything.
func TestStreamOfManyChanges(t *testing.T) {
	l := newListening(t)
	add := func(n int, of func(int) store.Event) {
		t.Helper()
		events := make([]store.Event, n)
		for i := range events {
			events[i] = of(i)
			events[i].At, events[i].Tenant, events[i].Kind, events[i].Actor = time.Now(), apitest.Tenant, "state-changed", "verifier"
		}
		d := store.Device{ // one write, so that they come together
			Tenant: apitest.Tenant, ID: apitest.ID(fmt.Sprint(n)), Status: store.Active, Level: result.Certified,
			State: result.NeverAttested, EnrolledAt: time.Now(),
		}
		if _, err := l.store.SaveDevice(context.Background(), d, events...); err != nil {
			t.Fatal(err)
		}
	}
	s := l.tune(t, l.token, "", "")
	add(200, func(i int) store.Event { return store.Event{Device: apitest.ID(fmt.Sprint("many", i))} })
	if got := s.next(); got.Event != "fleet" || got.Devices != 200 || got.ID == "" {
		t.Errorf("heard %+v, want one event for 200 devices", got)
	}
	add(300, func(i int) store.Event { // with another kind as the last
		if i == 299 {
			return store.Event{}
		}
		return store.Event{Device: apitest.ID(fmt.Sprint("many", i))}
	})
	if got, after := s.next(), s.next(); got.Devices != 299 || after.Event != "fleet" || after.Kind != "state-changed" || after.Seq <= got.Seq {
		t.Errorf("heard %+v and %+v, want one event for 299 devices and then the other", got, after)
	}
	add(100, func(int) store.Event { return store.Event{Device: apitest.ID("busy")} })
	if got := s.next(); got.Event != "device" || got.Device != apitest.ID("busy") {
		t.Errorf("heard %+v, want one event for one device", got)
	}
	add(2000, func(int) store.Event { return store.Event{Device: apitest.ID("busy")} })
	late, events := l.tune(t, l.token, "", "1"), 0
	for got := late.next(); !got.Missed; got = late.next() {
		if events++; events > 10 {
			t.Fatalf("heard %+v, want that much was missed", got)
		}
	}
	l.event(t, apitest.Tenant, "", "policy-set")
	if got := late.next(); got.Kind != "policy-set" {
		t.Errorf("heard %+v after what was missed, want the new event", got)
	}
}

// A stream of one device tells of every result of it, also where the state stays, and of nothing else.
func TestStreamOfOneDevice(t *testing.T) {
	l := newListening(t)
	l.signed(t)
	d := apitest.AddDevice(t, l.store, store.Device{ID: apitest.ID("one"), Label: "one", State: result.Trusted})
	other := apitest.AddDevice(t, l.store, store.Device{ID: apitest.ID("two"), State: result.Trusted})
	s := l.tune(t, l.token, "?device=one", "")
	for range 3 {
		l.event(t, apitest.Tenant, other.ID, "state-changed")
		l.event(t, apitest.Tenant, "", "policy-set")
		if err := l.fleet.Record(context.Background(), apitest.Tenant, d.ID, result.Result{State: result.Trusted}); err != nil {
			t.Fatal(err)
		}
		l.event(t, apitest.Tenant, d.ID, "evidence-rejected")
		told := map[string]bool{}
		for !told["evidence-rejected"] {
			got := s.next()
			if got.Event != "device" || got.Device != d.ID || got.State != result.Trusted {
				t.Fatalf("heard %+v, want device %s", got, d.ID)
			}
			told[got.Kind] = true
		}
	}
	// Only a result, no event.
	if err := l.fleet.Record(context.Background(), apitest.Tenant, d.ID, result.Result{State: result.Warning}); err != nil {
		t.Fatal(err)
	}
	for got := s.next(); got.State != result.Warning; got = s.next() {
		if got.Device != d.ID {
			t.Fatalf("heard %+v", got)
		}
	}
	wantProblem(t, l.do("GET", "/v1/stream?device=nobody", ""), http.StatusNotFound, "no device")
	wantProblem(t, l.do("GET", "/v1/stream?sevice=one", ""), http.StatusUnprocessableEntity, "query")
	r := httptest.NewRequest("GET", "/v1/stream", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+l.token)
	r.Header.Set("Last-Event-ID", "x")
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	wantProblem(t, w, http.StatusUnprocessableEntity, "Last-Event-ID")
}

func TestStreamByRole(t *testing.T) {
	l := newListening(t)
	d := apitest.AddDevice(t, l.store, store.Device{ID: apitest.ID("one"), State: result.Trusted})
	for role, want := range map[string]string{
		"vendor": "manifest", "viewer": "device fleet manifest", "auditor": "device fleet manifest audit",
	} {
		token := apitest.AddToken(t, l.store, store.Token{Operator: true, Role: role})
		s := l.tune(t, token, "", "")
		l.event(t, apitest.Tenant, d.ID, "state-changed")
		l.event(t, apitest.Tenant, "", "policy-set")
		l.event(t, apitest.Tenant, "", "manifest-changed")
		var got []string
		for len(got) == 0 || got[len(got)-1] != "manifest" {
			got = append(got, s.next().Event)
		}
		l.hub.Tell(apitest.Tenant, v1.StreamAudit, v1.StreamChange{})
		l.event(t, apitest.Tenant, "", "manifest-changed")
		if e := s.next().Event; e == "audit" {
			got = append(got, e)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("role %s hears %q, want %s", role, got, want)
		}
		_ = s.res.Body.Close()
	}
	token := apitest.AddToken(t, l.store, store.Token{Operator: true, Role: "vendor"})
	wantProblem(t, l.as(token, "GET", "/v1/stream?device="+d.ID, ""), http.StatusForbidden, "no devices")
}

// The stream ends with the credential that opened it: with its time, and when it is revoked before.
func TestStreamEndsWithItsCredential(t *testing.T) {
	l := newListening(t)
	short := apitest.AddToken(t, l.store, store.Token{Operator: true, Expires: time.Now().Add(300 * time.Millisecond)})
	l.tune(t, short, "", "").ended()
	token := apitest.AddToken(t, l.store, store.Token{Operator: true})
	s := l.tune(t, token, "", "")
	if err := l.store.RevokeToken(context.Background(), apitest.TokenID(t, token)); err != nil {
		t.Fatal(err)
	}
	s.ended()
}

func TestStreamLimits(t *testing.T) {
	l := newListening(t)
	var open []*tune
	for range 32 {
		open = append(open, l.tune(t, l.token, "", ""))
	}
	w := l.do("GET", "/v1/stream", "")
	wantProblem(t, w, http.StatusTooManyRequests, "32 streams are open for you")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	other := apitest.AddToken(t, l.store, store.Token{Operator: true})
	l.tune(t, other, "", "") // others have their own share
	for _, s := range open {
		_ = s.res.Body.Close()
	}
	wait(t, "closed streams to be forgotten", func() bool { return l.hub.Listeners() == 1 })
	_ = l.tune(t, l.token, "", "").res.Body.Close()
}

// wait waits for a condition.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// One client that opens a stream and never reads is cut off in the end, and nobody waits for it (ATTACKS row 16).
func TestStreamOfAClientThatDoesNotRead(t *testing.T) {
	l := newListening(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	if _, err := fmt.Fprintf(c, "GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", l.token); err != nil {
		t.Fatal(err)
	}
	wait(t, "the stream", func() bool { return l.hub.Listeners() == 1 })
	reads := l.tune(t, l.token, "", "")
	// Far more than the buffers of a connection hold. Nobody waits.
	big := v1.StreamChange{Kind: strings.Repeat("x", 64<<10)}
	for range 300 {
		l.hub.Tell(apitest.Tenant, v1.StreamAudit, big)
	}
	l.event(t, apitest.Tenant, "", "policy-set")
	for got := reads.next(); got.Kind != "policy-set"; got = reads.next() {
		if got.Missed {
			break // it was told so much that it may have been too slow itself
		}
	}
	wait(t, "the client to be cut off", func() bool { return l.hub.Listeners() == 1 })
}

// The hub looks into the store only while somebody listens.
func TestHubRests(t *testing.T) {
	l := newListening(t)
	s := l.tune(t, l.token, "", "")
	if n := l.hub.Rooms(); n != 1 {
		t.Errorf("hub follows %d tenants, want 1", n)
	}
	_ = s.res.Body.Close()
	wait(t, "the hub to rest", func() bool { return l.hub.Rooms() == 0 && l.hub.Listeners() == 0 })
}

// A server that stops does not wait for those who listen.
func TestStreamsEndWithTheServer(t *testing.T) {
	l := newListening(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, listener, l.Handler) }()
	l.url = "http://" + listener.Addr().String()
	s := l.tune(t, l.token, "", "")
	start := time.Now()
	cancel()
	s.ended()
	if err := <-served; err != nil || time.Since(start) > 5*time.Second {
		t.Errorf("Serve() = %v after %v, want nil at once", err, time.Since(start))
	}
}
