package notify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// send starts to send what is due, each channel by itself: one that hangs holds up no other.
func (n *Notifier) send(ctx context.Context, senders *sync.WaitGroup) error {
	sending := n.sending() // asked for first: what these send meanwhile is still among what is due
	due, err := n.cfg.Store.DueDeliveries(ctx, n.cfg.Now(), sendPage)
	if err != nil {
		return err
	}
	of := make(map[string][]store.Delivery)
	var order []string
	for _, d := range due {
		key := d.Tenant + "/" + d.Channel
		if of[key] == nil {
			order = append(order, key)
		}
		of[key] = append(of[key], d)
	}
	for _, key := range order {
		if sending[key] || !n.claim(key) {
			continue
		}
		senders.Go(func() {
			defer n.release(key)
			if err := n.sendAll(ctx, of[key]); err != nil && ctx.Err() == nil {
				n.cfg.Log.Error("deliveries of alerts were not looked after, trying again", "error", err)
			}
		})
	}
	return nil
}

// sending returns the channels that are sending now.
func (n *Notifier) sending() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.busy)
}

// claim reserves a channel, unless it is sending or too many others are.
func (n *Notifier) claim(key string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[key] || len(n.busy) >= sendersAtOnce {
		return false
	}
	n.busy[key] = true
	return true
}

func (n *Notifier) release(key string) {
	n.mu.Lock()
	delete(n.busy, key)
	n.mu.Unlock()
	select {
	case n.done <- struct{}{}:
	default:
	}
}

// sendAll sends deliveries of one channel, up to the first that fails because of the channel: the others would fail too.
func (n *Notifier) sendAll(ctx context.Context, list []store.Delivery) error {
	c, err := n.cfg.Store.AlertChannel(ctx, list[0].Tenant, list[0].Channel)
	if errors.Is(err, store.ErrNotFound) {
		return nil // it was removed, and what waits for it with it
	}
	if err != nil {
		return err
	}
	for i := range list {
		ok, err := n.sendOne(ctx, &c, list[i])
		if err != nil || !ok {
			return err
		}
	}
	return nil
}

// sendOne makes one attempt, records how it went and reports whether others may fare better.
func (n *Notifier) sendOne(ctx context.Context, c *store.AlertChannel, d store.Delivery) (ok bool, err error) {
	failure := n.attempt(ctx, c, &d)
	if failure != nil && ctx.Err() != nil {
		return false, nil // the verifier stops: it is sent when it comes back
	}
	d.Attempts++
	now := n.cfg.Now()
	if failure == nil {
		d.State, d.Sent, d.Error = store.DeliverySent, now, ""
	} else {
		d.Error = explain(failure, c.Secret)
		d.Next = now.Add(backoff(d.Attempts, failure))
		if !d.Next.Before(d.Expires) {
			d.State = store.DeliveryDead
			n.cfg.Metrics.dead.WithLabelValues(c.Kind).Inc()
		}
		n.cfg.Log.Warn("alert not delivered", "tenant", d.Tenant, "channel", c.Name, "kind", c.Kind, "delivery", d.ID, "attempt", d.Attempts,
			"given_up", d.State == store.DeliveryDead, "error", d.Error)
	}
	err = n.cfg.Store.SettleDelivery(context.WithoutCancel(ctx), d) // what was sent must not be sent again after a restart
	if errors.Is(err, store.ErrConflict) {
		err = nil // it was given up meanwhile, because its channel was removed
	}
	return failure == nil || mailbox(failure), err
}

// attempt sends once.
func (n *Notifier) attempt(ctx context.Context, c *store.AlertChannel, d *store.Delivery) (err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	ctx, span := n.tracer.Start(ctx, "deliver alert", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("probity.channel.kind", c.Kind)))
	start := time.Now()
	defer func() {
		outcome := "sent"
		if err != nil && ctx.Err() != nil {
			err = ctx.Err() // rather than what bind made of it
		}
		if err != nil {
			outcome = "failed"
			span.SetStatus(codes.Error, explain(err, c.Secret))
		}
		span.End()
		n.cfg.Metrics.attempts.WithLabelValues(c.Kind, outcome).Inc()
		n.cfg.Metrics.duration.WithLabelValues(c.Kind).Observe(time.Since(start).Seconds())
	}()
	t, err := parseTarget(c.Kind, c.Target)
	if err != nil {
		return err
	}
	m, err := decodeMessage(d.Message)
	if err != nil {
		return err
	}
	switch c.Kind {
	case KindAlertmanager:
		return n.alertmanager(ctx, c, t, m)
	case KindWebhook:
		return n.webhook(ctx, c, t, d)
	case KindSyslog:
		return n.syslog(ctx, t, d, m)
	default: // parseTarget knows no other
		return n.email(ctx, c, t, d, m)
	}
}

// backoff returns how long to wait after an attempt: twice as long each time, up to an hour, give or take a fifth, and not
// less than the receiver asks for.
func backoff(attempts int, err error) time.Duration {
	wait := longestRetry
	if shift := attempts - 1; shift < 12 {
		wait = min(firstRetry<<shift, longestRetry)
	}
	wait += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(wait))
	var answer *answerError
	if errors.As(err, &answer) {
		wait = max(wait, min(answer.after, longestRetry))
	}
	return wait
}

// explain says a failure to people, without the channel's secret in case the receiver repeats it.
func explain(err error, secret string) string {
	s := err.Error()
	if secret != "" {
		s = strings.ReplaceAll(s, secret, "(secret)")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		s = fmt.Sprintf("no answer within %s: %s", sendTimeout, s)
	}
	return clip(s, maxError)
}

// Test sends a test through a channel, once, and returns the delivery, which says how it went.
func (n *Notifier) Test(ctx context.Context, c *store.AlertChannel, actor string) (store.Delivery, error) {
	now := n.cfg.Now()
	id := newID()
	m := Message{Type: "alert." + trial, At: now.UTC(), Title: "Test of the alert channel " + clip(c.Name, maxText), Data: Data{
		ID: id, Tenant: c.Tenant, Verifier: n.cfg.Verifier, Rule: "test", RuleID: "test", Severity: result.Info, State: store.AlertFiring,
		Code: trial, Submod: result.Platform, Component: "alert channel", Meaning: "this is a test: alerts arrive here",
		Action: "none", Since: now.UTC(), URL: n.cfg.Dashboard,
	}}
	body, err := m.encode()
	if err != nil {
		return store.Delivery{}, err
	}
	d := store.Delivery{
		Tenant: c.Tenant, Key: "test-" + id, Channel: c.ID, Name: c.Name, Subject: subject(trial, &m), Message: body,
		State: store.DeliveryWaiting, Attempts: 0,
		// The queue never sends it: should the verifier end now, it is given up before it is due.
		Created: now, Next: now.Add(keepFor), Expires: now.Add(giveUpAfter),
	}
	if d.ID, err = n.cfg.Store.AddDelivery(ctx, d, store.Event{
		At: now, Kind: "operator", Actor: actor, Detail: fmt.Sprintf("alert channel %q tested", c.Name),
	}); err != nil {
		return store.Delivery{}, err
	}
	failure := n.attempt(ctx, c, &d)
	d.Attempts, d.State, d.Sent = 1, store.DeliverySent, n.cfg.Now()
	if failure != nil {
		d.State, d.Sent, d.Error = store.DeliveryDead, time.Time{}, explain(failure, c.Secret)
	}
	// Also when who asked went away: otherwise it would wait for a day.
	return d, n.cfg.Store.SettleDelivery(context.WithoutCancel(ctx), d)
}

// Expires returns until when a delivery that is asked for again now is tried.
func Expires(now time.Time) time.Time { return now.Add(giveUpAfter) }
