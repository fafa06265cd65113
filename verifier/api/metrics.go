package api

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests by route. A route is a pattern of the router: no id or label of a device gets into a metric.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "probity_api_requests_total", Help: "Requests to the HTTP API by route and status.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "probity_api_request_seconds", Help: "Time to answer requests to the HTTP API, by route.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"route"}),
	}
	return m, errors.Join(r.Register(m.requests), r.Register(m.duration))
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if !lasting[route] { // how long those last says nothing of the verifier
		m.duration.WithLabelValues(route).Observe(took.Seconds())
	}
}

// level tells what an operator of the verifier wants to see: failures, refused credentials (of which anybody can cause as
// many as they like, so that the log gets some and the metric all) and writes.
func (s *server) level(method string, status int) slog.Level {
	switch {
	case status >= http.StatusInternalServerError:
		return slog.LevelError
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		if s.refusals.Allow() {
			return slog.LevelWarn
		}
		return slog.LevelDebug
	case method != http.MethodGet && method != http.MethodHead:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
