package v1

import (
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Tiers that a gate may demand (AR4SI, draft-ietf-rats-ar4si-08, section 2.3).
const (
	TierAffirming = "affirming" // only devices that are trusted
	TierWarning   = "warning"   // those with warnings too
)

// Gate says whether a device may pass: what a proxy or a service asks before it talks to the device.
type Gate struct {
	Allowed bool         `json:"allowed"`
	Device  string       `json:"device" doc:"id"`
	State   result.State `json:"state,omitempty" doc:"of the device now; absent: it is not known here"`
	Reason  string       `json:"reason,omitempty" enum:"unknown-device,not-enrolled,never-attested,stale,untrusted,unsupported,warning,too-old" doc:"why it may not"`
	Detail  string       `json:"detail,omitempty" doc:"the same in words"`
	At      *time.Time   `json:"at,omitempty" doc:"when the evidence came that the state is of"`
	Expires *time.Time   `json:"expires,omitempty" doc:"until when the state may be relied on without asking again"`
}
