// Package api is the verifier's HTTP API for operators: devices, results, events, baselines and tokens as JSON.
//
// The documents are those of package v1, errors are problem documents (RFC 9457), and the API describes itself in
// OpenAPI 3.1 at /v1/openapi.json. Every route needs an operator's token (RFC 6750) but two: /healthz and /v1/keys. The
// check stands before the router, so that a route that is added is closed until it is listed as open. A token opens its
// own tenant and nothing else. Every write records an event with the operator's name.
//
// Of internal errors a client learns only the id of its request, under which the verifier's log has the rest.
package api

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// Config is what the API stands on.
type Config struct {
	Store store.Store // required
	Fleet Fleet       // required
	// Keys are the P-256 keys that sign results, the one in use first. At least one.
	Keys []*ecdsa.PublicKey
	// Health reports whether the link to the broker is up; nil: not asked.
	Health func(context.Context) error
	// Metrics is the registry that /metrics shows and to which the API adds its own; nil: a new one.
	Metrics *prometheus.Registry
	Version string           // the verifier's version, for the API's description
	Log     *slog.Logger     // nil: slog.Default()
	Now     func() time.Time // nil: time.Now
}

// server is the handler that New returns.
type server struct {
	Config
	keys    v1.KeySet
	mux     *routes
	health  health
	metrics *metrics
	// refusals limits what strangers can write to the log.
	refusals *rate.Limiter
}

// routes is a router that remembers its patterns.
type routes struct {
	*http.ServeMux
	patterns []string
}

// HandleFunc implements humago.Mux.
func (r *routes) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, h)
}

// New returns the API as a handler.
func New(c Config) (http.Handler, error) {
	if c.Store == nil || c.Fleet == nil || len(c.Keys) == 0 {
		return nil, errors.New("api: want a store, a fleet and a key that signs results")
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	keys, err := keySet(c.Keys)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("api: metrics: %w", err)
	}
	s := &server{Config: c, keys: keys, mux: &routes{ServeMux: http.NewServeMux()}, metrics: m}
	s.refusals = rate.NewLimiter(refusalsLog, 2*refusalsLog)
	doc := humago.New(s.mux, s.humaConfig())
	s.registerDevices(doc)
	s.registerHistory(doc)
	s.registerBaselines(doc)
	s.registerTokens(doc)
	s.registerPolicy(doc)
	s.registerCaptures(doc)
	s.registerVendors(doc)
	s.registerManifests(doc)
	s.registerDenyList(doc)
	s.registerOutliers(doc)
	s.registerService(doc)
	spec, err := json.Marshal(doc.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("api: OpenAPI document: %w", err)
	}
	s.registerPlain(spec)
	return s, nil
}

// A client that writes "Label" for "label" has made a mistake: it is told, as with any other unknown member.
func init() { huma.ValidateStrictCasing = true }

func (s *server) humaConfig() huma.Config {
	format := huma.Format{Marshal: v1.Encode, Unmarshal: json.Unmarshal}
	c := huma.DefaultConfig("Probity verifier", cmp.Or(s.Version, "1"))
	c.Info.Description = "What devices run, whether it is what it should be, and what operators may do about it."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", "" // the only unlisted routes that huma would add
	c.CreateHooks = nil
	c.Formats = map[string]huma.Format{"application/json": format, "json": format}
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{transformProblem}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"operator": {Type: "http", Scheme: "bearer", Description: "operator token"},
	}
	c.Security = []map[string][]string{{"operator": {}}}
	return c
}

// body is an answer with a document.
type body[T any] struct{ Body T }

// empty is an answer or a request without one.
type empty struct{}

// register adds an operation. Its handler's errors become problem documents here, so that none reaches a client as it is.
func register[I, O any](s *server, doc huma.API, op huma.Operation,
	h func(ctx context.Context, p principal, in *I) (*O, error),
) {
	op.MaxBodyBytes = bodyLimit(op.Method + " " + op.Path)
	op.BodyReadTimeout = readTimeout + uploadTime(op.Method+" "+op.Path)
	if open[op.Method+" "+op.Path] {
		op.Security = []map[string][]string{}
	}
	huma.Register(doc, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, principalOf(ctx), in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}
