// Package api is the verifier's HTTP API for operators: devices, results, events, baselines and tokens as JSON.
//
// The documents are those of package v1, errors are problem documents (RFC 9457), and the API describes itself in
// OpenAPI 3.1 at /v1/openapi.json. Every route needs a credential but those that are listed as open: a token (RFC 6750),
// the cookie of a session, or a client certificate. It opens its own tenant and nothing else, and what its role may use:
// the table of rules, in roles.go, has a row for every operation, and without one nobody may. Both checks stand before the
// router, so that a route that is added is closed until somebody decides who may use it. Every write records an event with
// the name of who did it, and the audit log has, beside writes and refusals, who saw what.
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
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/time/rate"

	"github.com/probity-attest/probity/verifier/access"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// Config is what the API stands on.
type Config struct {
	Store store.Store // required
	Fleet Fleet       // required
	// Access is who may sign in, beside the holders of tokens: accounts of the tenant that it names, "default" where it names
	// none. Its Store, Log and Now are those of the API.
	Access access.Config
	// Alerts sends alerts; nil: none are sent, and channels cannot be added.
	Alerts Alerts
	// Traces is what spans of requests go to; nil: none are made.
	Traces trace.TracerProvider
	// Hub tells streams what happens; nil: one that follows Store.
	Hub *Hub
	// Keys are the P-256 keys that sign results, the one in use first. At least one.
	Keys []*ecdsa.PublicKey
	// Health reports whether the link to the broker is up; nil: not asked.
	Health func(context.Context) error
	// Metrics is the registry that /metrics shows and to which the API adds its own; nil: a new one.
	Metrics *prometheus.Registry
	// GateHeader is the header in which proxies name the device whose request they ask for; empty: they hand on its
	// certificate in x-forwarded-client-cert.
	GateHeader string
	// Rates is how fast clients may ask; zero values are the defaults.
	Rates   Rates
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
	gauge   *gauge
	access  *access.Access
	origins *http.CrossOriginProtection
	repeats *repeats
	// refusals limits what strangers can write to the log.
	refusals *rate.Limiter
}

// routes is a router that remembers its patterns, and the ids of their operations.
type routes struct {
	*http.ServeMux
	patterns   []string
	operations map[string]string // by pattern
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
	if c.Traces == nil {
		c.Traces = noop.NewTracerProvider()
	}
	if c.Hub == nil {
		c.Hub = NewHub(c.Store, c.Log, c.Now)
	}
	keys, err := keySet(c.Keys)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("api: metrics: %w", err)
	}
	s := &server{Config: c, keys: keys, mux: &routes{ServeMux: http.NewServeMux(), operations: map[string]string{}}, metrics: m}
	s.gauge = newGauge(c.Rates, c.Now)
	c.Access.Store, c.Access.Log, c.Access.Now = c.Store, c.Log, c.Now
	c.Access.Tenant = cmp.Or(c.Access.Tenant, "default")
	if s.access, err = access.New(c.Access); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	s.origins = http.NewCrossOriginProtection()
	s.repeats = newRepeats(c.Store, func(err error) { c.Log.Error("audit log was not written", "error", err) })
	s.refusals = rate.NewLimiter(refusalsLog, 2*refusalsLog)
	doc := humago.New(s.mux, s.humaConfig())
	s.registerDevices(doc)
	s.registerOverview(doc)
	s.registerHistory(doc)
	s.registerBaselines(doc)
	s.registerTokens(doc)
	s.registerSession(doc)
	s.registerAccounts(doc)
	s.registerAudit(doc)
	s.registerPolicy(doc)
	s.registerCaptures(doc)
	s.registerVendors(doc)
	s.registerManifests(doc)
	s.registerDenyList(doc)
	s.registerOutliers(doc)
	s.registerDetail(doc)
	s.registerSearch(doc)
	s.registerApprovals(doc)
	s.registerAlerts(doc)
	s.registerStream(doc)
	s.registerGate(doc)
	s.registerService(doc)
	spec, err := openAPI(doc)
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
		"operator":    {Type: "http", Scheme: "bearer", Description: "token for the API, with the role that it was made for"},
		"session":     {Type: "apiKey", In: "cookie", Name: access.Cookie, Description: "of a person who signed in: POST /v1/session"},
		"certificate": {Type: "mutualTLS", Description: "client certificate that is registered with an account"},
	}
	c.Security = []map[string][]string{{"operator": {}}, {"session": {}}, {"certificate": {}}}
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
	s.mux.operations[op.Method+" "+op.Path] = op.OperationID
	op.MaxBodyBytes = bodyLimit(op.Method + " " + op.Path)
	op.BodyReadTimeout = readTimeout + uploadTime(op.Method+" "+op.Path)
	if open[op.Method+" "+op.Path] {
		op.Security = []map[string][]string{}
	}
	describe(&op)
	huma.Register(doc, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, principalOf(ctx), in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}
