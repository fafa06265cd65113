package fleet

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what a fleet does. No metric has a device label: there may be a million.
type Metrics struct {
	evidence   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	challenges prometheus.Counter
	failures   prometheus.Counter
	silenced   prometheus.Counter
	duration   prometheus.Histogram
}

// NewMetrics returns Metrics; register them with Register.
func NewMetrics() *Metrics {
	return &Metrics{
		evidence: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "probity_evidence_total", Help: "Evidence messages by outcome: a device state, rejected, or wanted (content was asked for).",
		}, []string{"outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "probity_refused_total", Help: "Messages that were not dealt with, by reason.",
		}, []string{"reason"}),
		challenges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "probity_challenges_total", Help: "Challenges sent to devices.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "probity_failures_total", Help: "Internal failures, such as a store that cannot commit.",
		}),
		silenced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "probity_silenced_total", Help: "Devices that became stale.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "probity_appraisal_seconds", Help: "Time from an evidence message to its receipt.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 14),
		}),
	}
}

// Register adds the metrics to a registry.
func (m *Metrics) Register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.evidence, m.refused, m.challenges, m.failures, m.silenced, m.duration} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
