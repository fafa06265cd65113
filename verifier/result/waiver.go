package result

import "time"

// Waiver says that a finding does not count, who answers for that, why and how long.
type Waiver struct {
	Owner   string    `json:"owner" cbor:"1,keyasint"`
	Reason  string    `json:"reason" cbor:"2,keyasint"`
	Expires time.Time `json:"expires" cbor:"3,keyasint"` // from then on the finding counts again
	Was     Severity  `json:"was" cbor:"4,keyasint"`     // severity that the finding would have
}
