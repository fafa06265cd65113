package verifier

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/probity-attest/probity/verifier/result"
)

// countTimeout is how long counting the devices may take when metrics are read.
const countTimeout = 5 * time.Second

// gauges shows, when metrics are read, what the parts of a verifier count by themselves.
type gauges struct{ v *Verifier }

var (
	devicesDesc = prometheus.NewDesc("probity_devices", "Devices by their state now.", []string{"state"}, nil)
	sessionDesc = prometheus.NewDesc("probity_mqtt_sessions", "MQTT sessions that are authenticated, the verifier's own included.", nil, nil)
	refusalDesc = prometheus.NewDesc("probity_mqtt_refusals_total",
		"What the broker refused, by reason: limit, handshake, credentials, topic (not allowed), rate (had to wait), slow (did not read).",
		[]string{"reason"}, nil)
	messageDesc = prometheus.NewDesc("probity_mqtt_messages_total", "MQTT publications by direction.", []string{"direction"}, nil)
	byteDesc    = prometheus.NewDesc("probity_mqtt_bytes_total", "MQTT bytes by direction.", []string{"direction"}, nil)
	ignoredDesc = prometheus.NewDesc("probity_messages_ignored_total",
		"Messages of devices that were not dealt with: queue (full; the device sends again) or malformed.", []string{"reason"}, nil)
)

// registerMetrics adds what the parts count by themselves, the version, and how the process does.
func (v *Verifier) registerMetrics() error {
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "probity_build_info", Help: "Always 1, labelled with the verifier's version.",
		ConstLabels: prometheus.Labels{"version": v.version, "go_version": runtime.Version()},
	}, func() float64 { return 1 })
	var errs []error
	for _, c := range []prometheus.Collector{
		gauges{v}, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		errs = append(errs, v.metrics.Register(c))
	}
	return errors.Join(errs...)
}

// Describe implements prometheus.Collector.
func (g gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{devicesDesc, sessionDesc, refusalDesc, messageDesc, byteDesc, ignoredDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector. Where the store cannot count, the devices are left out.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counts, err := g.v.store.Counts(ctx, g.v.cfg.Tenant, time.Now())
	if err != nil {
		g.v.log.Warn("devices not counted for metrics", "error", err)
	} else {
		for _, s := range []result.State{
			result.Trusted, result.Warning, result.Untrusted, result.Stale, result.NeverAttested, result.Unsupported,
		} {
			out <- prometheus.MustNewConstMetric(devicesDesc, prometheus.GaugeValue, float64(counts[s]), string(s))
		}
	}
	s := g.v.broker.Stats()
	out <- prometheus.MustNewConstMetric(sessionDesc, prometheus.GaugeValue, float64(s.Sessions))
	counter := func(d *prometheus.Desc, label string, n int64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
	}
	counter(refusalDesc, "limit", s.Refused)
	counter(refusalDesc, "handshake", s.Handshakes)
	counter(refusalDesc, "credentials", s.Unauthenticated)
	counter(refusalDesc, "topic", s.Denied)
	counter(refusalDesc, "rate", s.RateLimited)
	counter(refusalDesc, "slow", s.Slow)
	counter(messageDesc, "in", s.MessagesIn)
	counter(messageDesc, "out", s.MessagesOut)
	counter(byteDesc, "in", s.BytesIn)
	counter(byteDesc, "out", s.BytesOut)
	counter(ignoredDesc, "queue", int64(g.v.link.Dropped()))
	counter(ignoredDesc, "malformed", int64(g.v.link.Malformed()))
}
