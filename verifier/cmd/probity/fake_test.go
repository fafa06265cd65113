package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// documents are the types that a script's answers must be of, so that they stay what the API's vocabulary says.
var documents = map[string]func() any{
	"Summary": func() any { return &v1.Summary{} }, "Clusters": func() any { return &v1.Clusters{} },
	"Cluster": func() any { return &v1.Cluster{} }, "Changes": func() any { return &v1.Changes{} },
	"History": func() any { return &v1.History{} }, "Facets": func() any { return &v1.Facets{} },
	"Devices": func() any { return &v1.Devices{} }, "Device": func() any { return &v1.Device{} },
	"Bulk":    func() any { return &v1.Bulk{} },
	"Results": func() any { return &v1.Results{} }, "Boot": func() any { return &v1.Boot{} },
	"Files": func() any { return &v1.Files{} },
	"Flash": func() any { return &v1.Flash{} }, "Timeline": func() any { return &v1.Timeline{} },
	"Freshness": func() any { return &v1.Freshness{} }, "Diff": func() any { return &v1.Diff{} },
	"Search": func() any { return &v1.Search{} },
	"Me":     func() any { return &v1.Me{} }, "Accounts": func() any { return &v1.Accounts{} },
	"Account": func() any { return &v1.Account{} },
	"Audit":   func() any { return &v1.Audit{} }, "Alerts": func() any { return &v1.Alerts{} },
	"Alert":      func() any { return &v1.Alert{} },
	"AlertRules": func() any { return &v1.AlertRules{} }, "AlertRule": func() any { return &v1.AlertRule{} },
	"AlertChannels": func() any { return &v1.AlertChannels{} }, "AlertChannel": func() any { return &v1.AlertChannel{} },
	"Deliveries": func() any { return &v1.Deliveries{} }, "Delivery": func() any { return &v1.Delivery{} },
	"Coverage": func() any { return &v1.Coverage{} }, "Manifest": func() any { return &v1.Manifest{} },
	"Manifests": func() any { return &v1.Manifests{} }, "Settings": func() any { return &v1.Settings{} },
	"Counts": func() any { return &v1.Counts{} },
	"Gate":   func() any { return &v1.Gate{} }, "Problem": func() any { return &v1.Problem{} },
	"Tokens": func() any { return &v1.Tokens{} }, "CreatedToken": func() any { return &v1.CreatedToken{} },
	"SimilarFindings": func() any { return &v1.SimilarFindings{} }, "Events": func() any { return &v1.Events{} },
}

// TestFake runs scripts against answers that they prepare: what a verifier says in every case, whatever it can do.
func TestFake(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/fake/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			f := newFake(t)
			testscript.Run(t, testscript.Params{
				Files:               []string{script},
				RequireExplicitExec: true,
				Setup:               f.setup,
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exits": exits, "answer": f.answer, "asked": f.asked, "forget": f.forget, "tell": f.tell, "await": f.await,
					"connection": f.connection,
				},
			})
		})
	}
}

// fake is a verifier that answers what a script prepared.
type fake struct {
	server *httptest.Server

	mu       sync.Mutex
	answers  []prepared
	requests []string // METHOD PATH?QUERY BODY
	streams  []chan string
}

// prepared is an answer to requests of a method and path whose query has at least these values.
type prepared struct {
	method, path string
	query        url.Values
	status       int
	kind         string
	body         []byte
	retry        string
}

func newFake(t *testing.T) *fake {
	f := &fake{}
	f.server = httptest.NewUnstartedServer(f)
	f.server.EnableHTTP2 = true
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients refuse its certificate in some scripts
	f.server.StartTLS()
	t.Cleanup(func() {
		f.server.CloseClientConnections()
		f.server.Close()
	})
	return f
}

// fakeToken is what scripts sign in with.
const fakeToken = "pbo1.acme.0123456789abcdef.secret"

// pin returns the fingerprint of the server's certificate, which is its own CA.
func (f *fake) pin() string {
	sum := sha256.Sum256(f.server.Certificate().Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (f *fake) setup(env *testscript.Env) error {
	prepare(env)
	for name, value := range map[string]string{
		"PROBITY_URL": f.server.URL, "PROBITY_CA_FINGERPRINT": f.pin(),
		"PROBITY_TOKEN": fakeToken,
		"ID":            strings.Repeat("ab", 32), "OTHER": strings.Repeat("cd", 32), "HOSTILE": hostile,
	} {
		env.Setenv(name, value)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path == "/v1/stream" {
		f.stream(w, r)
		return
	}
	f.mu.Lock()
	line := r.Method + " " + r.URL.RequestURI() + " " + string(body)
	if r.Method != http.MethodGet && r.Header.Get(idempotencyKey) == "" {
		line += " (without an idempotency key)"
	}
	f.requests = append(f.requests, line)
	var best *prepared
	for i := range f.answers {
		p := &f.answers[i]
		if p.fits(r) && (best == nil || len(p.query) >= len(best.query)) {
			best = p
		}
	}
	f.mu.Unlock()
	if best == nil {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"title":"Not Found","status":404,"detail":"no device has an id that begins like this"}`)
		return
	}
	if best.retry != "" {
		w.Header().Set("Retry-After", best.retry)
	}
	w.Header().Set("Content-Type", best.kind)
	w.WriteHeader(best.status)
	_, _ = w.Write(best.body)
}

func (p *prepared) fits(r *http.Request) bool {
	if p.method != r.Method || p.path != r.URL.Path {
		return false
	}
	query := r.URL.Query()
	for name, values := range p.query {
		for _, v := range values {
			if !slices.Contains(query[name], v) {
				return false
			}
		}
	}
	return true
}

// answer prepares one: "answer METHOD PATH STATUS [TYPE FILE]". TYPE is a document of the API, or raw.
func (f *fake) answer(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 && len(args) != 5 {
		ts.Fatalf("usage: answer METHOD PATH STATUS [TYPE FILE]")
	}
	u, err := url.Parse(args[1])
	ts.Check(err)
	status, retry, _ := strings.Cut(args[2], ",")
	p := prepared{method: args[0], path: u.Path, query: u.Query(), kind: "application/json", retry: retry}
	p.status, err = strconv.Atoi(status)
	ts.Check(err)
	if len(args) == 5 {
		p.body = []byte(ts.ReadFile(args[4]))
		p.body = bytes.ReplaceAll(p.body, []byte("$ID"), []byte(ts.Getenv("ID")))
		p.body = bytes.ReplaceAll(p.body, []byte("$OTHER"), []byte(ts.Getenv("OTHER")))
		quoted, err := json.Marshal(hostile)
		ts.Check(err)
		p.body = bytes.ReplaceAll(p.body, []byte(`"HOSTILE"`), quoted)
		if args[3] == "Problem" {
			p.kind = "application/problem+json"
		}
		if args[3] == "raw" {
			p.kind = "application/octet-stream"
		} else {
			document, known := documents[args[3]]
			if !known {
				ts.Fatalf("no document %q", args[3])
			}
			dec := json.NewDecoder(bytes.NewReader(p.body))
			dec.DisallowUnknownFields()
			if err := dec.Decode(document()); err != nil {
				ts.Fatalf("%s is no %s: %v", args[4], args[3], err)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, p)
}

// asked checks that there was a request, or with "!" none: "asked REGEXP", on METHOD PATH?QUERY BODY.
func (f *fake) asked(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: asked REGEXP")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if found := slices.ContainsFunc(f.requests, pattern.MatchString); found == neg {
		ts.Fatalf("asked %q = %t; there were:\n%s", args[0], found, strings.Join(f.requests, "\n"))
	}
}

func (f *fake) forget(*testscript.TestScript, bool, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = nil
}

// connection writes the connection to a file: "connection FILE".
func (f *fake) connection(ts *testscript.TestScript, _ bool, args []string) {
	text := fmt.Sprintf("url: %s\nca_fingerprint: %s\ntoken: %s\n", f.server.URL, f.pin(), fakeToken)
	ts.Check(writeFile(ts.MkAbs(args[0]), text))
}
