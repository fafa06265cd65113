package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Message is what a delivery tells: the body of webhooks, and what other channels put in their own words. It is fixed when
// the alert is told, so that every attempt sends the same. Texts that devices chose hold printable characters only.
type Message struct {
	Type string    `json:"type"` // alert.firing, alert.repeat, alert.grown, alert.resolved or alert.test
	At   time.Time `json:"timestamp"`
	Data Data      `json:"data"`
	// Title says it in one line, such as: 3,104 devices: PCR 4: boot loader is unknown; Acme R7
	Title string `json:"title"`
}

// Data is the alert.
type Data struct {
	ID        string              `json:"id"`
	Tenant    string              `json:"tenant"`
	Verifier  string              `json:"verifier"`
	Rule      string              `json:"rule"` // name
	RuleID    string              `json:"rule_id"`
	Severity  result.Severity     `json:"severity"`
	State     store.AlertState    `json:"state"`
	Code      string              `json:"finding"`
	Submod    result.Submod       `json:"submod"`
	Component string              `json:"component"`
	Expected  string              `json:"expected,omitempty"`
	Observed  string              `json:"observed,omitempty"`
	Nearest   string              `json:"nearest,omitempty"`
	Meaning   string              `json:"meaning"`
	Action    string              `json:"action"`
	Cluster   string              `json:"cluster,omitempty"`
	Devices   int                 `json:"devices"` // that show it now
	Peak      int                 `json:"peak"`    // the most at one time
	Sample    []store.AlertDevice `json:"sample,omitempty"`
	Models    []store.AlertValue  `json:"models,omitempty"`
	Groups    []store.AlertValue  `json:"groups,omitempty"`
	Since     time.Time           `json:"since"`
	Resolved  *time.Time          `json:"resolved,omitempty"`
	URL       string              `json:"url,omitempty"` // of the alert on the dashboard
}

// message says an alert as it is now.
func (n *Notifier) message(a *store.Alert, why string, now time.Time) *Message {
	f := &a.Finding
	m := &Message{
		Type: "alert." + why, At: now.UTC(), Title: Title(a),
		Data: Data{
			ID: a.ID, Tenant: a.Tenant, Verifier: n.cfg.Verifier, Rule: clip(a.RuleName, maxText), RuleID: a.Rule, Severity: f.Severity,
			State: a.State, Code: f.Code, Submod: f.Submod, Component: clip(f.Component, maxText), Expected: clip(f.Expected, maxText),
			Observed: clip(f.Observed, maxText), Nearest: clip(f.Nearest, maxText), Meaning: clip(f.Meaning, maxText),
			Action: clip(f.Action, maxText), Cluster: a.Cluster, Devices: a.Devices, Peak: a.Peak, Since: a.Since.UTC(),
		},
	}
	for _, d := range a.Sample {
		m.Data.Sample = append(m.Data.Sample, store.AlertDevice{ID: d.ID, Label: clip(d.Label, maxText)})
	}
	m.Data.Models, m.Data.Groups = values(a.Models), values(a.Groups)
	if !a.Resolved.IsZero() {
		at := a.Resolved.UTC()
		m.Data.Resolved = &at
	}
	if n.cfg.Dashboard != "" {
		m.Data.URL = n.cfg.Dashboard + "/alerts/" + a.ID
	}
	return m
}

func values(in []store.AlertValue) (out []store.AlertValue) {
	for _, v := range in {
		out = append(out, store.AlertValue{Value: clip(v.Value, maxText), Devices: v.Devices})
	}
	return out
}

func (m *Message) encode() ([]byte, error) {
	var b bytes.Buffer
	if err := v1.Encode(&b, m); err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func decodeMessage(b []byte) (*Message, error) {
	var m Message
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	return &m, nil
}

// Title says an alert in one line: how many devices, what, and which. Of one that is over it says how many there were.
func Title(a *store.Alert) string {
	count := a.Devices
	if a.State == store.AlertResolved || count == 0 {
		count = a.Peak
	}
	devices := group(count) + " devices"
	if count == 1 {
		devices = "1 device"
	}
	what := a.Finding.Component + ": " + a.Finding.Meaning
	if a.Finding.Component == "device" { // of what has no component
		what = a.Finding.Meaning
	}
	title := devices + ": " + what
	if which := which(a); which != "" {
		title += "; " + which
	}
	return clip(title, maxTitle)
}

// which says what the devices have in common: model and group, if all have the same.
func which(a *store.Alert) string {
	var parts []string
	common := func(values []store.AlertValue, before string) {
		switch {
		case len(values) == 1 && values[0].Value != "":
			parts = append(parts, before+values[0].Value)
		case len(values) > 1 && values[0].Value != "":
			parts = append(parts, before+values[0].Value+" and others")
		}
	}
	common(a.Models, "")
	common(a.Groups, "group ")
	return strings.Join(parts, ", ")
}

// group writes a number with commas between thousands.
func group(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// clip returns at most limit bytes of s, with what does not print, or would move what follows it, replaced.
func clip(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r == utf8.RuneError || !v1.Prints(r):
			return '\ufffd'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	s = s[:limit-len("...")]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "..."
}
