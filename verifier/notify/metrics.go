package notify

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// countTimeout is how long counting alerts may take when metrics are read.
const countTimeout = 5 * time.Second

// Metrics counts what a Notifier does. No metric has a label for a device, a rule or a channel: their number has no bound.
type Metrics struct {
	told     *prometheus.CounterVec
	attempts *prometheus.CounterVec
	dead     *prometheus.CounterVec
	duration *prometheus.HistogramVec
	compared prometheus.Counter
}

// NewMetrics returns Metrics; register them with Register.
func NewMetrics() *Metrics {
	m := &Metrics{
		told: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "probity_alerts_told_total", Help: "Times that an alert was told, by reason and severity.",
		}, []string{"reason", "severity"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "probity_alert_attempts_total", Help: "Attempts to deliver alerts, by kind of channel and outcome (sent, failed).",
		}, []string{"kind", "outcome"}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "probity_alert_dead_total", Help: "Deliveries of alerts that were given up, by kind of channel.",
		}, []string{"kind"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "probity_alert_attempt_seconds", Help: "Time that an attempt to deliver an alert takes, by kind of channel.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 8),
		}, []string{"kind"}),
		compared: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "probity_alert_devices_compared_total", Help: "Devices that were compared with the alert rules.",
		}),
	}
	// All of them from the beginning: Prometheus sees no increase in a series that begins with its first failure.
	for kind := range schemes {
		m.attempts.WithLabelValues(kind, "sent")
		m.attempts.WithLabelValues(kind, "failed")
		m.dead.WithLabelValues(kind)
	}
	return m
}

// Register adds the metrics to a registry, and what is counted in the store when metrics are read.
func (m *Metrics) Register(r prometheus.Registerer, s store.AlertBook, log *slog.Logger) error {
	for _, c := range []prometheus.Collector{m.told, m.attempts, m.dead, m.duration, m.compared, gauges{s, log}} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// gauges shows what is in the store.
type gauges struct {
	store store.AlertBook
	log   *slog.Logger
}

var (
	openDesc     = prometheus.NewDesc("probity_alerts", "Open alerts by severity and state.", []string{"severity", "state"}, nil)
	deliveryDesc = prometheus.NewDesc("probity_alert_deliveries",
		"Deliveries of alerts by state: waiting, or dead (given up).", []string{"state"}, nil)
	backlogDesc = prometheus.NewDesc("probity_alert_backlog",
		"Devices that changed and wait to be compared with the alert rules.", nil, nil)
)

// Describe implements prometheus.Collector.
func (g gauges) Describe(out chan<- *prometheus.Desc) {
	out <- openDesc
	out <- deliveryDesc
	out <- backlogDesc
}

// Collect implements prometheus.Collector. Where the store cannot count, nothing is shown.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counts, err := g.store.AlertCounts(ctx)
	if err != nil {
		if g.log != nil {
			g.log.Warn("alerts not counted for metrics", "error", err)
		}
		return
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for _, severity := range []result.Severity{result.Info, result.Warn, result.Critical} {
		for _, state := range []store.AlertState{store.AlertGathering, store.AlertFiring, store.AlertAcknowledged} {
			gauge(openDesc, counts.Open[severity][state], string(severity), string(state))
		}
	}
	for _, state := range []store.DeliveryState{store.DeliveryWaiting, store.DeliveryDead} {
		gauge(deliveryDesc, counts.Deliveries[state], string(state))
	}
	gauge(backlogDesc, counts.Backlog)
}
