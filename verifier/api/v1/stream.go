package v1

import "github.com/probity-attest/probity/verifier/result"

// Kinds of events of the stream, which a client finds in the field "event" (server-sent events, HTML standard, section
// 9.2). Each says what a client that shows it should read again; the stream itself shows no more than a StreamChange.
const (
	StreamDevice   = "device"   // one device changed
	StreamFleet    = "fleet"    // many devices changed, or something that is not about one: policy, tokens, settings
	StreamManifest = "manifest" // manifests, baselines, vendors' keys or the deny-list changed
	StreamAlert    = "alert"    // an alert changed
	StreamAudit    = "audit"    // the audit log grew
)

// StreamChange is the data of an event of the stream.
type StreamChange struct {
	// Seq is that of the event in the log of events, which is the id of the event in the stream too; absent for what the
	// log does not tell, such as a result that does not change a device's state.
	Seq    int64        `json:"seq,omitempty"`
	Device string       `json:"device,omitempty" doc:"id"`
	State  result.State `json:"state,omitempty" doc:"of the device now"`
	Kind   string       `json:"kind,omitempty" doc:"of the event in the log, such as state-changed"`
	// Devices is how many devices one event stands for that came too fast to be told of one by one.
	Devices int `json:"devices,omitempty"`
	// Missed says that events before this one were not told: what is shown must be read again as a whole.
	Missed bool `json:"missed,omitempty"`
}
