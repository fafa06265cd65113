package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// answerError is an answer of an HTTP receiver that is no success.
type answerError struct {
	status int
	text   string        // as it came: explain makes it safe to show, once it can see all of a secret in it
	after  time.Duration // that the receiver asks to wait (RFC 9110, section 10.2.3); 0: it does not say
}

func (e *answerError) Error() string {
	s := fmt.Sprintf("it answered %d %s", e.status, http.StatusText(e.status))
	if e.status/100 == 3 {
		s += ": redirects are not followed, give the final URL"
	}
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// post sends a request and reads the answer. No proxy of the environment is used: it would reach what the dialer refuses.
func (n *Notifier) post(req *http.Request) error {
	transport := &http.Transport{
		DialContext: n.dialer().DialContext, TLSClientConfig: &tls.Config{RootCAs: n.cfg.Roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req.Header.Set("User-Agent", "probity-verifier/"+n.cfg.Version)
	res, err := client.Do(req)
	if err != nil {
		var outer *url.Error // repeats the URL, in which there may be secrets
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer)) // only explains a failure
	if res.StatusCode/100 == 2 {
		return nil
	}
	after := retryAfter(res.Header.Get("Retry-After"), n.cfg.Now())
	return &answerError{res.StatusCode, strings.TrimSpace(string(text)), after}
}

// retryAfter reads a Retry-After header: seconds or a date.
func retryAfter(s string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(s, 10, 32); err == nil {
		return max(time.Duration(seconds)*time.Second, 0)
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// Headers of webhooks, as in the Standard Webhooks specification 1.0.0 (section "Webhook headers (sending metadata to
// consumers)").
const (
	HeaderID        = "Webhook-Id"        // key of the delivery: the same in all attempts
	HeaderTimestamp = "Webhook-Timestamp" // Unix time of the attempt in seconds
	HeaderSignature = "Webhook-Signature" // Sign
)

// secretPrefix begins keys that are given in base64 (Standard Webhooks, section "Signature scheme").
const secretPrefix = "whsec_"

// webhookKey returns the key of the HMAC that a channel's secret stands for.
func webhookKey(secret string) ([]byte, error) {
	if text, ok := strings.CutPrefix(secret, secretPrefix); ok {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) < minSecret {
			return nil, fmt.Errorf("%w: secret: want base64 of at least %d bytes after %s", ErrChannel, minSecret, secretPrefix)
		}
		return key, nil
	}
	if len(secret) < minSecret {
		return nil, fmt.Errorf("%w: secret: a webhook needs one of at least %d characters, by which its receiver tells our "+
			"messages from others", ErrChannel, minSecret)
	}
	return []byte(secret), nil
}

// Sign returns the signature of a webhook's body: "v1," and the base64 of the HMAC-SHA-256 over id, timestamp and body,
// joined by dots (Standard Webhooks, section "Signature scheme"). A receiver compares it in constant time, and refuses
// timestamps that are minutes away from its own clock and ids that it has seen.
func Sign(key []byte, id string, timestamp int64, body []byte) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s.%d.", id, timestamp)
	h.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// webhook posts the message as it is, signed.
func (n *Notifier) webhook(ctx context.Context, c *store.AlertChannel, t *target, d *store.Delivery) error {
	key, err := webhookKey(c.Secret)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url.String(), bytes.NewReader(d.Message))
	if err != nil {
		return errors.New("target is no URL")
	}
	at := n.cfg.Now().Unix()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(HeaderID, d.Key)
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(at, 10))
	req.Header.Set(HeaderSignature, Sign(key, d.Key, at, d.Message))
	return n.post(req)
}

// postableAlert is an alert as Alertmanager takes it (API v2, openapi.yaml, postableAlert).
type postableAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// alertmanager posts the alert to API v2. Labels are the alert's identity there, so they never change while it lasts.
func (n *Notifier) alertmanager(ctx context.Context, c *store.AlertChannel, t *target, m *Message) error {
	a := postableAlert{
		Labels: map[string]string{
			"alertname": "Probity", "alert": m.Data.ID, "rule": m.Data.Rule, "finding": m.Data.Code, "severity": string(m.Data.Severity),
			"tenant": m.Data.Tenant, "verifier": m.Data.Verifier,
		},
		Annotations: map[string]string{
			"summary": m.Title, "description": m.Data.Component + ": " + m.Data.Meaning, "action": m.Data.Action,
			"devices": strconv.Itoa(m.Data.Devices), "peak": strconv.Itoa(m.Data.Peak),
		},
		// It lasts from this attempt on: what is sent late must not come as an alert that is over.
		StartsAt: m.Data.Since, EndsAt: n.cfg.Now().UTC().Add(forgetAfter), GeneratorURL: m.Data.URL,
	}
	if m.Data.Cluster != "" {
		a.Labels["cluster"] = m.Data.Cluster
	}
	if sample := names(m); sample != "" {
		a.Annotations["sample"] = sample
	}
	if m.Data.Resolved != nil {
		a.EndsAt = *m.Data.Resolved
	}
	for _, list := range []map[string]string{a.Labels, a.Annotations} {
		for name, value := range list {
			if value == "" {
				delete(list, name) // Alertmanager takes an empty label for none
			}
		}
	}
	var body bytes.Buffer
	if err := v1.Encode(&body, []postableAlert{a}); err != nil {
		return fmt.Errorf("encode alert: %w", err)
	}
	u := *t.url
	if !strings.HasSuffix(u.Path, "/api/v2/alerts") {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/api/v2/alerts"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), &body)
	if err != nil {
		return errors.New("target is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	switch {
	case c.User != "":
		req.SetBasicAuth(c.User, c.Secret)
	case c.Secret != "":
		req.Header.Set("Authorization", "Bearer "+c.Secret)
	}
	return n.post(req)
}

// names lists the sample of devices.
func names(m *Message) string {
	var out []string
	for _, d := range m.Data.Sample {
		name := d.ID[:min(12, len(d.ID))]
		if d.Label != "" {
			name = d.Label + " (" + name + ")"
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}
