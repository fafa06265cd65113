package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func (s *server) registerService(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "get-counts", Method: http.MethodGet, Path: "/v1/counts",
		Summary: "Count devices by their state now",
	}, s.counts)
	register(s, doc, huma.Operation{
		OperationID: "get-keys", Method: http.MethodGet, Path: "/v1/keys",
		Summary: "Show the public keys that sign results, as a JSON Web Key Set; needs no token",
	}, func(context.Context, principal, *empty) (*body[v1.KeySet], error) {
		return &body[v1.KeySet]{s.keys}, nil
	})
}

// registerPlain adds the routes whose answers are no documents of v1.
func (s *server) registerPlain(spec []byte) {
	s.plain("get-openapi", "GET /v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		_, _ = w.Write(spec)
	})
	s.plain("get-metrics", "GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: handleTimeout,
	}).ServeHTTP)
	s.plain("get-health", "GET /healthz", s.healthz)
}

func (s *server) counts(ctx context.Context, p principal, _ *empty) (*body[v1.Counts], error) {
	states, err := s.Store.Counts(ctx, p.tenant, s.Now())
	if err != nil {
		return nil, fmt.Errorf("count devices: %w", err)
	}
	out := v1.Counts{States: map[result.State]int{}}
	for state, n := range states {
		out.States[state] = n
		out.Total += n
	}
	return &body[v1.Counts]{out}, nil
}

// health remembers the newest answer of /healthz for a moment: it is open, and every check makes the store commit.
type health struct {
	mu      sync.Mutex
	at      time.Time
	failing string
}

// healthz says "ok", or with status 503 in one word what is failing: "store" or "broker".
func (s *server) healthz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if failing := s.failing(r.Context()); failing != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, failing+"\n")
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

func (s *server) failing(ctx context.Context) string {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if age := s.Now().Sub(s.health.at); age >= 0 && age < healthFresh {
		return s.health.failing
	}
	// The answer serves others too: it must not be that this client went away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	failing := ""
	if err := s.Store.Ping(ctx); err != nil {
		s.Log.Error("health check failed", "part", "store", "error", err)
		failing = "store"
	} else if s.Health != nil {
		if err := s.Health(ctx); err != nil {
			s.Log.Error("health check failed", "part", "broker", "error", err)
			failing = "broker"
		}
	}
	s.health.at, s.health.failing = s.Now(), failing
	return failing
}

// keySet returns P-256 keys as a JWK set. Key ids are those in the header of signed results.
func keySet(keys []*ecdsa.PublicKey) (v1.KeySet, error) {
	var set v1.KeySet
	for _, k := range keys {
		if k == nil || k.Curve != elliptic.P256() {
			return v1.KeySet{}, errors.New("key that signs results: want P-256")
		}
		point, err := k.Bytes() // 4 || x || y (SEC 1, section 2.3.3)
		if err != nil {
			return v1.KeySet{}, fmt.Errorf("key that signs results: %w", err)
		}
		id, err := result.KeyID(k)
		if err != nil {
			return v1.KeySet{}, err
		}
		b64 := base64.RawURLEncoding.EncodeToString
		set.Keys = append(set.Keys, v1.Key{
			Type: "EC", Curve: "P-256", X: b64(point[1:33]), Y: b64(point[33:]), ID: id, Algorithm: "ES256", Use: "sig",
		})
	}
	return set, nil
}
