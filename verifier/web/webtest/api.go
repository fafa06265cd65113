// Package webtest is a verifier's HTTP API for tests of the dashboard: documents of package v1 that tests set, accounts
// with roles, a list of devices that filters and can be changed, and a stream that tests write to.
//
// It keeps what was asked of it, so that tests can say what a page asked. It checks credentials and little else: what the
// real API refuses is tested with the real one.
package webtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// SessionCookie is the name of the session's cookie, as the real API has it.
const SessionCookie = "__Host-probity"

// Password opens every account of New.
const Password = "correct horse battery"

// SetupCode makes the first account where there is none.
const SetupCode = "setup-code-of-the-test"

// Request is what the API was asked.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Remote              string
	Body                []byte
}

// Handler answers one route: with a status and a document, nil for none.
type Handler func(r *http.Request, body []byte) (int, any)

// API is the fake. Make one with New.
type API struct {
	mu       sync.Mutex
	accounts map[string]v1.Me
	sessions map[string]string // name by cookie
	routes   map[string]Handler
	mux      *http.ServeMux
	requests []Request
	down     bool
	throttle string
	methods  *v1.SignInMethods
	streams  map[chan string]bool

	fleet
}

// New returns an API with one account for each role, named like it. Without accounts it waits for the first one.
func New(accounts ...v1.Role) *API {
	a := &API{
		accounts: map[string]v1.Me{}, sessions: map[string]string{}, routes: map[string]Handler{}, mux: http.NewServeMux(),
		streams: map[chan string]bool{}, fleet: fleet{start: time.Now().UTC().Truncate(time.Second)},
	}
	for _, role := range accounts {
		a.accounts[string(role)] = principal(string(role), role)
	}
	a.registerFleet()
	return a
}

// operations are what roles may do, as far as pages ask. The real table is package api's.
var operations = map[v1.Role][]string{
	v1.Viewer: {
		"get-fleet-summary", "list-clusters", "list-devices", "get-device", "export-devices", "list-manifests", "get-manifest",
		"list-vendor-keys", "get-policy", "list-alerts", "get-alert", "search", "get-stream", "get-bulk", "get-counts",
	},
	v1.Operator: {"bulk-devices", "approve-device", "change-device", "attest-device", "remove-device", "create-token", "list-tokens"},
	v1.Auditor:  {"list-audit", "export-audit"},
	v1.Admin:    {"list-accounts", "create-account", "set-policy", "add-vendor-key", "change-settings", "submit-manifest"},
	v1.Vendor:   {"list-manifests", "get-manifest", "submit-manifest", "start-dry-run"},
}

// Allow gives a role more operations.
func (a *API) Allow(role v1.Role, operation ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, me := range a.accounts {
		if me.Role == role {
			me.Can = append(slices.Clone(me.Can), operation...)
			a.accounts[name] = me
		}
	}
}

func principal(name string, role v1.Role) v1.Me {
	expires := time.Now().Add(8 * time.Hour).UTC()
	me := v1.Me{Name: name, Kind: "account", Tenant: "default", Role: role, Expires: &expires}
	switch role {
	case v1.Vendor:
		me.Vendors, me.Can = []string{"Acme"}, operations[v1.Vendor]
		return me
	case v1.Operator:
		me.Can = append(me.Can, operations[v1.Operator]...)
	case v1.Auditor:
		me.Can = append(me.Can, operations[v1.Auditor]...)
	case v1.Admin:
		me.Can = slices.Concat(operations[v1.Operator], operations[v1.Auditor], operations[v1.Admin])
	}
	me.Can = append(me.Can, operations[v1.Viewer]...)
	return me
}

// Answer sets what a route such as "GET /v1/manifests" answers: with a document and status 200.
func (a *API) Answer(route string, document any) {
	a.Handle(route, func(*http.Request, []byte) (int, any) { return http.StatusOK, document })
}

// Refuse lets a route answer with a problem.
func (a *API) Refuse(route string, status int, detail string) {
	a.Handle(route, func(*http.Request, []byte) (int, any) {
		return status, &v1.Problem{Title: http.StatusText(status), Status: status, Detail: detail}
	})
}

// Handle sets what a route does. Patterns are those of http.ServeMux. Handlers run one at a time.
func (a *API) Handle(route string, h Handler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.routes[route]
	a.routes[route] = h
	if known {
		return
	}
	a.mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		status, document := a.answer(route, r, body)
		write(w, status, document)
	})
}

func (a *API) answer(route string, r *http.Request, body []byte) (int, any) {
	a.mu.Lock()
	defer a.mu.Unlock() // also where a handler panics
	return a.routes[route](r, body)
}

// Requests returns what the API was asked, oldest first, without reads of who asks.
func (a *API) Requests() []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// SetDown lets every request fail as if the part behind it were gone.
func (a *API) SetDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// Throttle lets the API refuse to sign anybody in, because it was asked too often.
func (a *API) Throttle(detail string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.throttle = detail
}

// Methods sets how people may sign in.
func (a *API) Methods(m v1.SignInMethods) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.methods = &m
}

// EndSessions ends all sessions and their streams.
func (a *API) EndSessions() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.sessions)
	a.endStreams()
}

// EndStreams breaks the connections of whoever follows.
func (a *API) EndStreams() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endStreams()
}

func (a *API) endStreams() {
	for c := range a.streams {
		close(c)
	}
	clear(a.streams)
}

// Streams returns how many browsers follow.
func (a *API) Streams() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.streams)
}

// Publish tells whoever follows that something happened.
func (a *API) Publish(kind string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.streams {
		select {
		case c <- "event: " + kind + "\ndata: " + string(b) + "\n\n":
		default: // a browser that does not read misses it, as with the real one
		}
	}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !a.record(r) {
		refuse(w, http.StatusServiceUnavailable, "the part behind this is gone")
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/sign-in":
		a.mu.Lock()
		methods := v1.SignInMethods{Password: len(a.accounts) > 0, Setup: len(a.accounts) == 0}
		if a.methods != nil {
			methods = *a.methods
		}
		a.mu.Unlock()
		write(w, http.StatusOK, methods)
		return
	case "POST /v1/session":
		a.signIn(w, r)
		return
	case "POST /v1/setup":
		a.setup(w, r)
		return
	}
	me, ok := a.who(r)
	if !ok {
		refuse(w, http.StatusUnauthorized, "sign in")
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/me":
		write(w, http.StatusOK, me)
	case "DELETE /v1/session":
		a.EndSessions()
		w.WriteHeader(http.StatusNoContent)
	case "GET /v1/stream":
		a.stream(w, r)
	default:
		if r.Method != http.MethodGet && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
			refuse(w, http.StatusForbidden, "another site asks")
			return
		}
		a.mux.ServeHTTP(w, r)
	}
}

func (a *API) record(r *http.Request) (up bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.URL.Path == "/v1/me" {
		return !a.down
	}
	req := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone(), Remote: r.RemoteAddr}
	if r.Method != http.MethodGet {
		b, _ := io.ReadAll(r.Body) // a body that breaks off is decoded by nobody
		req.Body = b
		r.Body = io.NopCloser(strings.NewReader(string(b)))
	}
	a.requests = append(a.requests, req)
	return !a.down
}

func (a *API) who(r *http.Request) (v1.Me, bool) {
	c, err := r.Cookie(SessionCookie)
	if err != nil {
		return v1.Me{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	me, ok := a.accounts[a.sessions[c.Value]]
	return me, ok
}

// Session begins a session without a password and returns its cookie.
func (a *API) Session(name string) *http.Cookie {
	a.mu.Lock()
	defer a.mu.Unlock()
	token := fmt.Sprintf("session-%d-of-%s", len(a.sessions), name)
	a.sessions[token] = name
	return &http.Cookie{
		Name: SessionCookie, Value: token, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

func (a *API) signIn(w http.ResponseWriter, r *http.Request) {
	var in v1.SignIn
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		refuse(w, http.StatusBadRequest, "no JSON")
		return
	}
	a.mu.Lock()
	_, ok := a.accounts[in.Name]
	throttle := a.throttle
	a.mu.Unlock()
	if throttle != "" {
		refuse(w, http.StatusTooManyRequests, throttle)
		return
	}
	if !ok || in.Password != Password {
		refuse(w, http.StatusUnauthorized, "name or password is wrong")
		return
	}
	http.SetCookie(w, a.Session(in.Name))
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) setup(w http.ResponseWriter, r *http.Request) {
	var in v1.Setup
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		refuse(w, http.StatusBadRequest, "no JSON")
		return
	}
	if in.Code != SetupCode {
		refuse(w, http.StatusForbidden, "the setup code is wrong")
		return
	}
	a.mu.Lock()
	a.accounts[in.Name] = principal(in.Name, v1.Admin)
	a.mu.Unlock()
	http.SetCookie(w, a.Session(in.Name))
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) stream(w http.ResponseWriter, r *http.Request) {
	events := make(chan string, 64)
	a.mu.Lock()
	a.streams[events] = true
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.streams, events)
		a.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, ": hello\n\n")
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if _, err := io.WriteString(w, e); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func write(w http.ResponseWriter, status int, document any) {
	if p, ok := document.(*v1.Problem); ok {
		stated := *p
		stated.Status = status
		w.Header().Set("Content-Type", p.ContentType(""))
		w.WriteHeader(status)
		_ = v1.Encode(w, stated)
		return
	}
	if b, ok := document.([]byte); ok {
		w.WriteHeader(status)
		_, _ = w.Write(b)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if document != nil {
		_ = v1.Encode(w, document)
	}
}

func refuse(w http.ResponseWriter, status int, detail string) {
	write(w, status, &v1.Problem{Title: http.StatusText(status), Status: status, Detail: detail})
}
