package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// AlertRule says which findings of which devices are told to whom. Empty lists select all. Tenant and ID are its key;
// Tenant and Name are unique too.
type AlertRule struct {
	Tenant, ID, Name string

	States   []result.State    // verdicts, or Stale, of the devices
	Codes    []string          // of findings
	Severity result.Severity   // least of findings
	Groups   []string          // patterns; * stands for any characters
	Models   []string          // patterns of vendor/model
	Labels   map[string]string // patterns of labels' values

	Channels []string      // ids
	Wait     time.Duration // how long an alert gathers devices before it is first told, and stays empty before it ends
	Repeat   time.Duration // how often an alert that lasts is told again
	Disabled bool
	Created  time.Time
}

// AlertChannel is where alerts are told. Tenant and ID are its key; Tenant and Name are unique too.
type AlertChannel struct {
	Tenant, ID, Name string

	Kind     string   // "alertmanager", "webhook", "syslog" or "email"
	Target   string   // URL
	To       []string // of e-mail: recipients
	From     string   // of e-mail: sender
	User     string
	Secret   string // needed to send, so kept as it is
	Disabled bool
	Created  time.Time

	Last    time.Time // when something was last delivered; zero: never. Changed by SettleDelivery only
	Failing string    // why the newest attempt failed, or that for a recipient who still waits; empty: it did not
}

// AlertState is how far an alert is.
type AlertState string

// States of alerts. All but the last are open.
const (
	AlertGathering    AlertState = "gathering" // new: nobody was told yet
	AlertFiring       AlertState = "firing"
	AlertAcknowledged AlertState = "acknowledged" // somebody takes care: it is told again only when it ends
	AlertResolved     AlertState = "resolved"     // no device shows it any more; for ever
)

// Alert is one finding on any number of devices, told once. While it is open, it is the only one of its rule, cluster and
// severity. Its devices are counted by the store.
type Alert struct {
	Seq        int64 // ascending with time, given by the store
	Tenant, ID string
	Rule       string // id of the rule, which may be gone
	RuleName   string // as it was when the alert began
	Cluster    string // hexadecimal FindingKey; empty: it gathers what has no key in common
	Finding    result.Finding
	State      AlertState

	Devices int // that show it now
	Peak    int // the most at one time
	Sample  []AlertDevice
	Models  []AlertValue // vendor and model of the devices, most first
	Groups  []AlertValue // groups of the devices, most first

	Since       time.Time
	Updated     time.Time // when its devices or state last changed
	Emptied     time.Time // since when it has no device; zero: it has
	Resolved    time.Time // zero: it is open
	Actor       string    // who acknowledged it
	Told        time.Time // when it was last told; zero: never
	ToldDevices int       // devices at that time
	Tellings    int       // how often it was told, its end included
	Refreshed   time.Time // when those that forget were last told that it lasts
	Due         time.Time // when it has to be looked at again; zero: its devices changed since it was
	Changed     int64     // raised with every change; a write with an old one is ErrConflict
}

// AlertDevice names a device to people.
type AlertDevice struct {
	ID    string `json:"id"`
	Label string `json:"label,omitempty"`
}

// AlertValue is how many devices have a value.
type AlertValue struct {
	Value   string `json:"value"`
	Devices int    `json:"devices"`
}

// Bounds of alerts.
const (
	AlertSample     = 5  // devices in Sample, models in Models and groups in Groups
	MaxAlertsOfCode = 25 // open alerts of a rule and code; what exceeds them is gathered in one more
)

// AlertWork is a device that changed since it was last compared with the rules.
type AlertWork struct {
	Seq      int64  // of the change: a later one has a higher
	Device   Device // without keys, Record and Result
	Findings []result.Finding
	// Damaged is why the newest result cannot be read, nil if it can: what it found is unknown then.
	Damaged error
}

// AlertMatch is a rule that selects a device, and by what.
type AlertMatch struct {
	Rule    string         // id
	Key     [16]byte       // what the devices of one alert have in common
	Cluster bool           // Key is a FindingKey
	Finding result.Finding // what is told
}

// AlertChange is all that one device shows now, of each rule at most one thing.
type AlertChange struct {
	Work    int64 // AlertWork.Seq
	Device  string
	Matches []AlertMatch
	Keep    bool // the device stays in the alerts that it is in, whatever Matches says
}

// DeliveryState is how far a delivery is.
type DeliveryState string

// States of deliveries.
const (
	DeliveryWaiting DeliveryState = "waiting"
	DeliverySent    DeliveryState = "sent"
	DeliveryDead    DeliveryState = "dead" // given up, until somebody sends it again
)

// Delivery is one telling of one alert through one channel.
type Delivery struct {
	ID      int64 // ascending with time, given by the store
	Tenant  string
	Key     string // unique: the receiver knows by it what it has already
	Alert   string // id; empty: a test
	Channel string // id
	Name    string // of the channel, which may be gone
	// Recipient is the one of an e-mail channel's that it is for; empty: all.
	Recipient string
	Subject   string // what is told, in a line
	Message   []byte // what is told
	State     DeliveryState
	Attempts  int
	Error     string // of the newest attempt
	Created   time.Time
	Next      time.Time // of the next attempt
	Expires   time.Time // when it is given up
	Sent      time.Time
}

// DeliveryFilter selects deliveries; what is empty selects all.
type DeliveryFilter struct {
	State DeliveryState
	Alert string // id
}

// AlertCounts is what alerts and deliveries come to, of all tenants.
type AlertCounts struct {
	Open       map[result.Severity]map[AlertState]int
	Deliveries map[DeliveryState]int // waiting and dead
	Backlog    int                   // devices that wait to be compared with the rules
}

// AlertRules keeps what is told to whom.
type AlertRules interface {
	// AlertRules returns a tenant's rules in ascending name; with "" those of all tenants.
	AlertRules(ctx context.Context, tenant string) ([]AlertRule, error)
	// SaveAlertRule creates or replaces a rule; Created of an existing one stays. All devices are compared with it.
	// ErrConflict: another one has the name; ErrNotFound: a channel does not exist.
	SaveAlertRule(ctx context.Context, r AlertRule, events ...Event) error
	// RemoveAlertRule deletes a rule; its alerts lose their devices.
	RemoveAlertRule(ctx context.Context, tenant, id string, events ...Event) error
	// AlertChannels returns a tenant's channels in ascending name.
	AlertChannels(ctx context.Context, tenant string) ([]AlertChannel, error)
	// AlertChannel returns one.
	AlertChannel(ctx context.Context, tenant, id string) (AlertChannel, error)
	// SaveAlertChannel creates or replaces a channel; Created, Last and Failing of an existing one stay. What
	// waits for a recipient that it has no more is dead. ErrConflict: another one has the name.
	SaveAlertChannel(ctx context.Context, c AlertChannel, events ...Event) error
	// RemoveAlertChannel deletes a channel; what waits for it is dead. ErrConflict: a rule tells it.
	RemoveAlertChannel(ctx context.Context, tenant, id string, events ...Event) error
}

// AlertBook keeps alerts.
type AlertBook interface {
	// Alerts returns a tenant's alerts in a state (empty: all), newest first, older than before (0: from the newest).
	Alerts(ctx context.Context, tenant string, state AlertState, before int64, limit int) ([]Alert, error)
	// Alert returns one.
	Alert(ctx context.Context, tenant, id string) (Alert, error)
	// AcknowledgeAlert notes who takes care of an open alert. ErrConflict: it is resolved, or acknowledged already.
	AcknowledgeAlert(ctx context.Context, tenant, id, actor string, at time.Time, events ...Event) error
	// RescanAlerts has all devices compared with all rules again.
	RescanAlerts(ctx context.Context) error
	// ScanAlerts marks the next devices that have to be compared with rules that were saved, looking at most at limit, and
	// reports whether there may be more.
	ScanAlerts(ctx context.Context, limit int) (more bool, err error)
	// AlertWork returns devices that changed, longest ago first. Which a device is that changed while no rule existed is
	// found by the scan that follows the first rule.
	AlertWork(ctx context.Context, limit int) ([]AlertWork, error)
	// ApplyAlerts lets devices of a tenant join the alerts of what they show, beginning them where there are none, and
	// leave all others. Rules and devices that are gone are left out.
	ApplyAlerts(ctx context.Context, tenant string, changes []AlertChange, at time.Time) error
	// DueAlerts returns open alerts of all tenants that have to be looked at, with the Sample, Models and Groups that they
	// have now.
	DueAlerts(ctx context.Context, now time.Time, limit int) ([]Alert, error)
	// TellAlert replaces what of an alert is not counted by the store, and adds deliveries. ErrConflict: it changed.
	TellAlert(ctx context.Context, a Alert, deliveries []Delivery, events ...Event) error
	// ToldChannels returns the ids of the channels through which an alert was told, or is going to be.
	ToldChannels(ctx context.Context, tenant, id string) ([]string, error)
	// AlertCounts counts.
	AlertCounts(ctx context.Context) (AlertCounts, error)
	// PruneAlerts deletes resolved alerts and final deliveries that are older than before, of all tenants.
	PruneAlerts(ctx context.Context, before time.Time) error
}

// Deliveries keeps what is to be sent until it is.
type Deliveries interface {
	// Deliveries returns a tenant's deliveries, newest first, older than before (0: from the newest), without their
	// messages.
	Deliveries(ctx context.Context, tenant string, f DeliveryFilter, before int64, limit int) ([]Delivery, error)
	// AddDelivery adds one outside of an alert and returns its id. A key that exists is ErrConflict.
	AddDelivery(ctx context.Context, d Delivery, events ...Event) (int64, error)
	// DueDeliveries returns what waits to be sent, of all tenants, oldest first, of a channel at most limit; what is of
	// the same alert and for the same recipient only after what was before it. What disabled channels would send is left out.
	DueDeliveries(ctx context.Context, now time.Time, limit int) ([]Delivery, error)
	// SettleDelivery replaces State, Attempts, Error, Next and Sent of one that waits, and notes with its channel how it
	// went; what one recipient has does not mend what another one waits for. ErrConflict: it does not wait.
	SettleDelivery(ctx context.Context, d Delivery) error
	// RetryDelivery lets a dead one wait again. ErrConflict: it is not dead, or its channel or recipient is gone.
	RetryDelivery(ctx context.Context, tenant string, id int64, now, expires time.Time, events ...Event) error
	// ExpireDeliveries gives up what is waiting although its time is over, such as that of disabled channels.
	ExpireDeliveries(ctx context.Context, now time.Time) error
}

// Alerts is all that alerts need.
type Alerts interface {
	AlertRules
	AlertBook
	Deliveries
}

// Check reports what keeps r from being stored.
func (r *AlertRule) Check() error {
	if r.Tenant == "" || r.ID == "" || r.Name == "" {
		return fmt.Errorf("%w alert rule: want tenant, id and name, got %q, %q and %q", ErrInvalid, r.Tenant, r.ID, r.Name)
	}
	switch r.Severity {
	case result.Info, result.Warn, result.Critical:
	default:
		return fmt.Errorf("%w alert rule: unknown severity %q", ErrInvalid, r.Severity)
	}
	if r.Wait <= 0 || r.Repeat <= 0 {
		return fmt.Errorf("%w alert rule: want times to wait and repeat, got %s and %s", ErrInvalid, r.Wait, r.Repeat)
	}
	texts := slices.Concat([]string{r.Tenant, r.ID, r.Name}, r.Codes, r.Groups, r.Models, r.Channels)
	for _, s := range r.States {
		texts = append(texts, string(s))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		texts = append(texts, k, r.Labels[k])
	}
	return checkAlertTexts("alert rule", texts)
}

// Check reports what keeps c from being stored.
func (c *AlertChannel) Check() error {
	if c.Tenant == "" || c.ID == "" || c.Name == "" || c.Kind == "" || c.Target == "" {
		return fmt.Errorf("%w alert channel: want tenant, id, name, kind and target, got %q, %q, %q, %q and %q", ErrInvalid,
			c.Tenant, c.ID, c.Name, c.Kind, c.Target)
	}
	if err := checkText("secret", c.Secret); err != nil {
		return fmt.Errorf("%w alert channel: the secret is not UTF-8 without NUL", ErrInvalid) // without showing it
	}
	return checkAlertTexts("alert channel", append([]string{c.Tenant, c.ID, c.Name, c.Kind, c.Target, c.From, c.User}, c.To...))
}

// Check reports what keeps d from being stored.
func (d *Delivery) Check() error {
	if d.Tenant == "" || d.Key == "" || d.Channel == "" || len(d.Message) == 0 {
		return fmt.Errorf("%w delivery: want tenant, key, channel and message", ErrInvalid)
	}
	switch d.State {
	case DeliveryWaiting, DeliverySent, DeliveryDead:
	default:
		return fmt.Errorf("%w delivery: unknown state %q", ErrInvalid, d.State)
	}
	return checkAlertTexts("delivery", []string{d.Tenant, d.Key, d.Alert, d.Channel, d.Name, d.Recipient, d.Subject, d.Error})
}

func checkAlertTexts(what string, texts []string) error {
	var errs []error
	for _, s := range texts {
		errs = append(errs, checkText(what, s))
	}
	return errors.Join(errs...)
}
