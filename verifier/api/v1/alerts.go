package v1

import (
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// AlertRule says which findings and states are told to whom. Empty lists select all.
type AlertRule struct {
	ID       string            `json:"id" required:"false" readOnly:"true" doc:"chosen by the verifier"`
	Name     string            `json:"name" minLength:"1" maxLength:"128"`
	States   []result.State    `json:"states,omitempty" maxItems:"6" doc:"states that a device goes into; of one that falls silent both the state before and stale count"`
	Codes    []string          `json:"findings,omitempty" maxItems:"64" doc:"codes of findings; silent: devices that stopped attesting"`
	Severity result.Severity   `json:"severity,omitempty" enum:"info,warning,critical" doc:"least severity of findings; absent: warning"`
	Groups   []string          `json:"groups,omitempty" maxItems:"64" doc:"patterns of devices' groups; * stands for any characters"`
	Models   []string          `json:"models,omitempty" maxItems:"64" doc:"patterns of vendor/model"`
	Labels   map[string]string `json:"labels,omitempty" maxProperties:"8"`
	Channels []string          `json:"channels" required:"false" maxItems:"16" doc:"ids of channels; none: the alert is only listed"`
	Wait     int64             `json:"wait_seconds,omitempty" minimum:"0" maximum:"86400" doc:"how long an alert gathers devices before it is first told; absent: 30"`
	Repeat   int64             `json:"repeat_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"how often an alert that lasts is told again; absent: 14400"`
	Disabled bool              `json:"disabled,omitempty"`
	Created  time.Time         `json:"created" required:"false" readOnly:"true"`
}

// AlertRules is all rules in ascending name.
type AlertRules struct {
	Rules []AlertRule `json:"rules"`
}

// AlertChannel is where alerts are told. Secrets are written, never read back.
type AlertChannel struct {
	ID        string     `json:"id" required:"false" readOnly:"true" doc:"chosen by the verifier"`
	Name      string     `json:"name" minLength:"1" maxLength:"128"`
	Kind      string     `json:"kind" enum:"alertmanager,webhook,syslog,email"`
	Target    string     `json:"target" minLength:"1" maxLength:"1024" doc:"URL; of syslog: udp://, tcp:// or tls:// HOST:PORT; of e-mail: smtp:// (with STARTTLS, or ?tls=none) or smtps:// HOST:PORT"`
	To        []string   `json:"to,omitempty" maxItems:"32" doc:"of e-mail: recipients"`
	From      string     `json:"from,omitempty" maxLength:"256" doc:"of e-mail: sender"`
	User      string     `json:"user,omitempty" maxLength:"256" doc:"of e-mail and Alertmanager: with the secret as password"`
	Secret    string     `json:"secret,omitempty" maxLength:"1024" doc:"key of the webhook's HMAC (at least 16 characters, or whsec_ and base64), password of e-mail, bearer token of Alertmanager; never shown; absent in a change: as it was"`
	HasSecret bool       `json:"has_secret" required:"false" readOnly:"true"`
	Disabled  bool       `json:"disabled,omitempty"`
	Created   time.Time  `json:"created" required:"false" readOnly:"true"`
	Last      *time.Time `json:"last_sent,omitempty" readOnly:"true" doc:"when something was last delivered"`
	Failing   string     `json:"failing,omitempty" readOnly:"true" doc:"why the newest attempt failed; absent: it did not"`
}

// AlertChannels is all channels in ascending name.
type AlertChannels struct {
	Channels []AlertChannel `json:"channels"`
}

// Alert is one thing that happened to many devices, told once.
type Alert struct {
	ID        string          `json:"id"`
	Rule      string          `json:"rule" doc:"name"`
	RuleID    string          `json:"rule_id" doc:"the rule may be gone"`
	Title     string          `json:"title" doc:"such as: 3,104 devices: PCR 4 boot loader is unknown, Acme R7"`
	Code      string          `json:"code,omitempty"`
	Severity  result.Severity `json:"severity"`
	Submod    result.Submod   `json:"submod,omitempty"`
	Component string          `json:"component,omitempty"`
	Expected  string          `json:"expected,omitempty"`
	Observed  string          `json:"observed,omitempty"`
	Nearest   string          `json:"nearest,omitempty" doc:"what is known to have the observed value"`
	Meaning   string          `json:"meaning,omitempty"`
	Action    string          `json:"action,omitempty"`
	Cluster   string          `json:"cluster,omitempty" doc:"id of the cluster of devices; absent: they have nothing more than the code in common"`
	State     string          `json:"state" enum:"gathering,firing,acknowledged,resolved"`
	Devices   int             `json:"devices" doc:"that show it now"`
	Peak      int             `json:"peak" doc:"the most at one time"`
	Sample    []Candidate     `json:"sample" doc:"the first few devices"`
	Models    []ValueCount    `json:"models" doc:"vendor and model, most devices first, at most 5"`
	Groups    []ValueCount    `json:"groups" doc:"most devices first, at most 5"`
	Since     time.Time       `json:"since"`
	Updated   time.Time       `json:"updated"`
	Told      *time.Time      `json:"told,omitempty" doc:"when it was last told"`
	Resolved  *time.Time      `json:"resolved,omitempty"`
	Actor     string          `json:"acknowledged_by,omitempty"`
}

// Alerts is a page of alerts, newest first.
type Alerts struct {
	Alerts []Alert `json:"alerts"`
	Next   string  `json:"next,omitempty" doc:"value of before for the next page"`
}

// Delivery is one telling of one alert through one channel.
type Delivery struct {
	ID        int64      `json:"id"`
	Key       string     `json:"key" doc:"by which the receiver knows it"`
	Alert     string     `json:"alert,omitempty" doc:"id; absent: a test of the channel"`
	Subject   string     `json:"subject,omitempty" doc:"what was told and why, such as: firing: 3,104 devices: PCR 4 boot loader is unknown"`
	Channel   string     `json:"channel" doc:"name"`
	Recipient string     `json:"recipient,omitempty" doc:"whom of an e-mail channel it is for; absent: all"`
	State     string     `json:"state" enum:"waiting,sent,dead" doc:"dead: given up, until somebody sends it again"`
	Attempts  int        `json:"attempts"`
	Error     string     `json:"error,omitempty" doc:"of the newest attempt"`
	Created   time.Time  `json:"created"`
	Next      *time.Time `json:"next_attempt,omitempty"`
	Sent      *time.Time `json:"sent,omitempty"`
}

// Deliveries is a page of deliveries, newest first.
type Deliveries struct {
	Deliveries []Delivery `json:"deliveries"`
	Next       int64      `json:"next,omitempty" doc:"value of before for the next page"`
}
