package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/verifier/access"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// streamRoute is the route of the stream of events.
const streamRoute = "GET /v1/stream"

// lasting are the routes whose answers last as long as the client and its credential do.
var lasting = map[string]bool{streamRoute: true}

// patience bounds how long a request may take.
func patience(ctx context.Context, route string) (context.Context, context.CancelFunc) {
	if lasting[route] {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, handleTimeout+uploadTime(route))
}

func (s *server) registerStream(doc huma.API) {
	least := 0.0
	op := huma.Operation{
		OperationID: "get-stream", Method: http.MethodGet, Path: "/v1/stream",
		Summary: "Hear of changes as they happen",
		Description: "Server-sent events: device, fleet, manifest, alert and audit, with a StreamChange as data. A client that " +
			"comes back with Last-Event-ID hears what it missed, or that it missed too much to be told. It ends with the " +
			"session or token.",
		Parameters: []*huma.Param{
			{
				Name: "device", In: "query", Schema: &huma.Schema{Type: huma.TypeString},
				Description: "a device's id, the start of one, or label: only what happens to it, every new result included",
			},
			{
				Name: "Last-Event-ID", In: "header", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &least},
				Description: "id of the last event that was heard",
			},
		},
		Responses: map[string]*huma.Response{"200": {
			Description: "events", Content: map[string]*huma.MediaType{
				"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}
	describe(&op)
	op.Parameters = slices.DeleteFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == "If-None-Match" })
	delete(op.Responses, "304")
	for _, status := range op.Errors { // what huma does for others
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status), Content: map[string]*huma.MediaType{
				"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}},
			},
		}
	}
	doc.OpenAPI().AddOperation(&op)
	s.plain(op.OperationID, streamRoute, s.stream)
}

// stopping returns what is closed when the server is told to stop: who is being streamed to must not hold that up.
func stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}

type stoppingKey struct{}

// stream answers with events until the client leaves or reads too slowly, its credential ends, or the server stops.
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	p := principalOf(r.Context())
	l, after, err := s.tuneIn(r, p)
	if err != nil {
		problem := s.problem(r.Context(), err)
		if problem.Status == http.StatusTooManyRequests || problem.Status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "5")
		}
		writeProblem(w, r, problem)
		return
	}
	defer s.Hub.leave(l)
	// The server's deadlines are for answers that end. This one has a deadline for each write instead.
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for proxies that would wait for more
	out := &events{w: w, c: c, p: p, seen: after, listener: l}
	if err := out.write([]byte("retry: 2000\n\n")); err != nil {
		return
	}
	if err := s.catchUp(r.Context(), out); err != nil {
		if r.Context().Err() == nil {
			s.Log.Warn("stream ended", "request", requestOf(r.Context()).id, "error", err)
		}
		return
	}
	s.relay(r, out)
}

// tuneIn opens the stream that a request asks for, and returns the event after which it begins.
func (s *server) tuneIn(r *http.Request, p principal) (l *listener, after int64, err error) {
	for name, values := range r.URL.Query() {
		if name != "device" || len(values) != 1 {
			return nil, 0, problemf(http.StatusUnprocessableEntity, "query: want device once, and nothing else")
		}
	}
	device := r.URL.Query().Get("device")
	if device != "" {
		if !slices.Contains(readers, p.role) {
			return nil, 0, problemf(http.StatusForbidden, "the role %s sees no devices", orNone(p.role))
		}
		d, err := s.resolve(r.Context(), p, device)
		if err != nil {
			return nil, 0, err
		}
		device = d.ID
	}
	last := r.Header.Get("Last-Event-ID")
	if last != "" {
		if after, err = strconv.ParseInt(last, 10, 64); err != nil || after < 0 {
			return nil, 0, problemf(http.StatusUnprocessableEntity, "header Last-Event-ID: want the id of an event of this stream")
		}
	}
	l, err = s.Hub.listen(r.Context(), p.tenant, p.kind+":"+p.name, device)
	switch {
	case errors.Is(err, errManyStreams):
		return nil, 0, problemf(http.StatusTooManyRequests, "%d streams are open for you: end one first", maxStreamsEach)
	case errors.Is(err, errFull):
		return nil, 0, problemf(http.StatusServiceUnavailable, "all streams are taken: try again")
	case err != nil:
		return nil, 0, fmt.Errorf("open stream: %w", err)
	}
	if last == "" {
		after = l.from
	}
	return l, after, nil
}

// catchUp tells what happened between the event that the client heard last and now.
func (s *server) catchUp(ctx context.Context, out *events) error {
	l := out.listener
	if out.seen > l.from { // of another database
		out.seen = l.from
		return out.lost(l.from)
	}
	for told := 0; ; {
		page, err := s.Store.EventsAfter(ctx, l.tenant, out.seen, streamPage)
		if err != nil {
			return err
		}
		if told += len(page); told > maxReplay {
			if out.seen, err = s.Store.LastEvent(ctx, l.tenant); err != nil {
				return err
			}
			return out.lost(out.seen)
		}
		messages, err := s.Hub.messages(ctx, l.tenant, page)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := out.tell(m); err != nil {
				return err
			}
		}
		if len(page) < streamPage {
			return nil
		}
	}
}

// relay hands on what happens.
func (s *server) relay(r *http.Request, out *events) {
	beat := time.NewTicker(s.Hub.beat)
	defer beat.Stop()
	ends := out.p.ends(s.Now())
	quiet := r.WithContext(access.Unnoticed(r.Context()))
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-stopping(r.Context()):
			return
		case <-ends:
			return
		case m := <-out.listener.news:
			err = out.tell(m)
		case <-beat.C:
			// A credential may end before its time: a password that changed, a token that was revoked.
			if now, failed := s.authenticate(quiet); failed != nil || now.role != out.p.role || now.name != out.p.name {
				return
			}
			err = out.write([]byte(":\n\n"))
		}
		if err == nil && out.listener.missed.Swap(false) {
			err = out.lost(0)
		}
		if err != nil {
			return // it does not read, or is gone
		}
	}
}

// ends returns a channel on which something comes when the credential ends; nil if it does not end by itself.
func (p principal) ends(now time.Time) <-chan time.Time {
	if p.expires.IsZero() {
		return nil
	}
	return time.After(p.expires.Sub(now))
}

// hears reports whether events of a kind are for this role.
func (p principal) hears(kind string) bool {
	switch kind {
	case v1.StreamManifest:
		return slices.Contains(anybody, p.role)
	case v1.StreamAudit:
		return slices.Contains(auditors, p.role)
	}
	return slices.Contains(readers, p.role)
}

// events is the answer of a stream (server-sent events, HTML standard, section 9.2).
type events struct {
	w        http.ResponseWriter
	c        *http.ResponseController
	p        principal
	seen     int64 // newest event of the log that was told
	listener *listener
}

// tell writes a message, unless it was told before or is not for this client.
func (e *events) tell(m message) error {
	if m.seq != 0 {
		if m.seq <= e.seen {
			return nil
		}
		e.seen = m.seq
	}
	if !e.p.hears(m.kind) || e.listener.device != "" && e.listener.device != m.device {
		return nil
	}
	var b bytes.Buffer
	if m.seq != 0 {
		fmt.Fprintf(&b, "id: %d\n", m.seq)
	}
	fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", m.kind, m.data)
	return e.write(b.Bytes())
}

// lost tells that what happened up to an event, 0 for no certain one, was not all told.
func (e *events) lost(seq int64) error {
	kind := v1.StreamFleet
	switch {
	case e.listener.device != "":
		kind = v1.StreamDevice
	case !e.p.hears(kind):
		kind = v1.StreamManifest
	}
	m := newMessage(kind, v1.StreamChange{Seq: seq, Device: e.listener.device, Missed: true})
	var id string
	if seq != 0 {
		id = fmt.Sprintf("id: %d\n", seq)
	}
	return e.write(fmt.Appendf(nil, "%sevent: %s\ndata: %s\n\n", id, m.kind, m.data))
}

// write sends bytes to the client, who must take them soon.
func (e *events) write(b []byte) error {
	_ = e.c.SetWriteDeadline(time.Now().Add(streamWrite)) // without deadlines, as in tests, none is missed
	if _, err := e.w.Write(b); err != nil {
		return err
	}
	return e.c.Flush()
}
