package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/audit"
	"github.com/probity-attest/probity/verifier/store"
)

// What a principal does, and what it sees of rules with seen, is written to the audit log before it is told the outcome:
// what cannot be written down is not shown, and of a write that was done the client hears that it was not. Refusals and
// reads that repeat within auditWindow are counted, and one entry stands for all that came after the first.

// auditing is an answer that is written down before its first byte.
type auditing struct {
	http.ResponseWriter
	s      *server
	r      *http.Request
	tenant string
	entry  audit.Entry
	begun  bool
	failed bool
}

// audited returns what answers a request of p instead of w, and what to defer.
func (s *server) audited(w http.ResponseWriter, r *http.Request, operation string, p *principal) (http.ResponseWriter, *http.Request, func()) {
	a := &auditing{ResponseWriter: w, s: s, tenant: p.tenant, entry: s.auditEntry(r, operation)}
	a.entry.Actor, a.entry.Role = p.actor(), string(p.role)
	a.r = r.WithContext(context.WithValue(r.Context(), auditKey{}, &a.entry))
	return a, a.r, func() {
		if v := recover(); v != nil {
			a.begin(http.StatusInternalServerError)
			panic(v)
		}
		a.begin(http.StatusOK)
	}
}

// auditEntry returns what a request says of itself.
func (s *server) auditEntry(r *http.Request, operation string) audit.Entry {
	object := r.URL.EscapedPath()
	if rules[operation].seen && r.URL.RawQuery != "" { // what was looked for
		object += "?" + r.URL.RawQuery
	}
	return audit.Entry{
		At: s.Now(), Action: operation, Object: plain(object), Remote: plain(r.RemoteAddr), Request: requestOf(r.Context()).id,
	}
}

// plain makes of what a client sent a text that can be stored.
func plain(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
	if len(s) <= maxAuditText {
		return s
	}
	s = s[:maxAuditText]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "..."
}

type auditKey struct{}

// note adds to the audit entry of the request that is served what its path does not say.
func note(ctx context.Context, format string, args ...any) {
	if e, ok := ctx.Value(auditKey{}).(*audit.Entry); ok {
		e.Detail = plain(fmt.Sprintf(format, args...))
	}
}

// WriteHeader implements http.ResponseWriter.
func (a *auditing) WriteHeader(status int) {
	if status < http.StatusOK { // more follows
		a.ResponseWriter.WriteHeader(status)
		return
	}
	if a.begin(status); !a.failed {
		a.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (a *auditing) Write(b []byte) (int, error) {
	if a.begin(http.StatusOK); a.failed {
		return len(b), nil
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines.
func (a *auditing) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// begin writes the entry down. Where that fails, the answer is that it failed.
func (a *auditing) begin(status int) {
	if a.begun {
		return
	}
	a.begun = true
	a.entry.Status, a.entry.Outcome = status, outcomeOf(status)
	read := safe(a.r.Method)
	switch refused := a.entry.Outcome == audit.Refused; {
	case read && !refused && (!rules[a.entry.Action].seen || a.entry.Outcome == audit.Failed):
		return
	case read || refused:
		if !a.s.repeats.first(a.tenant, a.entry) {
			return
		}
	}
	err := a.s.writeAudit(a.r.Context(), a.tenant, a.entry)
	if err == nil {
		return
	}
	a.failed = true
	for _, name := range []string{"Content-Length", "Content-Disposition", "Content-Encoding", "Etag", "Location", "Set-Cookie"} {
		a.Header().Del(name)
	}
	writeProblem(a.ResponseWriter, a.r, a.s.problem(a.r.Context(), err))
}

// writeAudit appends to the audit log, also where the client does not wait for the answer any more.
func (s *server) writeAudit(ctx context.Context, tenant string, e audit.Entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	if err := s.Store.AddAudit(ctx, tenant, e); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	s.Hub.Tell(tenant, v1.StreamAudit, v1.StreamChange{Kind: e.Action})
	return nil
}

func outcomeOf(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return audit.Refused
	case status >= http.StatusBadRequest:
		return audit.Failed
	}
	return audit.OK
}

// repeats counts entries that are like others shortly before.
type repeats struct {
	write func(tenant string, e audit.Entry) // the entry that stands for what was counted
	after func(time.Duration, func())        // time.AfterFunc

	mu   sync.Mutex
	open map[repeatKey]*audit.Entry
}

// repeatKey is what entries that are one to people have in common.
type repeatKey struct {
	tenant, actor, role, action, object, outcome, remote string
	status                                               int
}

func newRepeats(s store.AuditLog, fail func(error)) *repeats {
	return &repeats{
		open:  map[repeatKey]*audit.Entry{},
		after: func(d time.Duration, f func()) { time.AfterFunc(d, f) },
		write: func(tenant string, e audit.Entry) {
			ctx, cancel := context.WithTimeout(context.Background(), auditTimeout)
			defer cancel()
			if err := s.AddAudit(ctx, tenant, e); err != nil {
				fail(err)
			}
		},
	}
}

// first reports whether e is to be written, as nothing like it was within auditWindow; otherwise it is counted. Where too
// much is counted already, all of it is written.
func (r *repeats) first(tenant string, e audit.Entry) bool {
	key := repeatKey{tenant, e.Actor, e.Role, e.Action, e.Object, e.Outcome, origin(e.Remote), e.Status}
	r.mu.Lock()
	defer r.mu.Unlock()
	if counted := r.open[key]; counted != nil {
		e.Times = counted.Times + 1
		*counted = e
		return false
	}
	if len(r.open) < maxRepeats {
		r.open[key] = &audit.Entry{}
		r.after(auditWindow, func() { r.close(key) })
	}
	return true
}

// close ends a window and writes down what was counted in it.
func (r *repeats) close(key repeatKey) {
	r.mu.Lock()
	counted := r.open[key]
	delete(r.open, key)
	r.mu.Unlock()
	if counted != nil && counted.Times > 0 {
		r.write(key.tenant, *counted)
	}
}
