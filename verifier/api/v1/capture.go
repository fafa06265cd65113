package v1

import "time"

// Capture is an operator's wish for raw bytes of a device's flash memory, and what came of it.
type Capture struct {
	ID     int64  `json:"id" doc:"number; ascends with time"`
	Device string `json:"device" doc:"id"`
	State  string `json:"state" doc:"asked, running, done, refused or failed"`
	Reason string `json:"reason,omitempty" doc:"why it was refused, failed or waits"`
	Region string `json:"region"`
	Offset uint64 `json:"offset" doc:"in the region, in bytes"`
	Length uint32 `json:"length,omitempty" doc:"as asked for, in bytes; absent: to the end of the region"`
	Source string `json:"source,omitempty" doc:"where the device reads it from"`
	Size   uint32 `json:"size,omitempty" doc:"bytes that the device announced"`
	Held   uint32 `json:"held" doc:"bytes that have come"`
	Digest string `json:"digest,omitempty" doc:"hexadecimal SHA-256 that the device signed and the bytes have"`
	// Reported compares with the newest result at the end of the capture.
	Reported string    `json:"reported,omitempty" doc:"same or differs: how the bytes compare with the digest that the device reported before; absent where they cannot be compared"`
	Actor    string    `json:"actor" doc:"who asked for it"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated" doc:"when it last got on"`
	Expires  time.Time `json:"expires" doc:"until when the device may answer"`

	Nonce     []byte `json:"nonce" doc:"base64; the signature is over it"`
	Statement []byte `json:"statement,omitempty" doc:"base64; what the device signed (proto/README.md, Capture)"`
	Quote     []byte `json:"quote,omitempty" doc:"base64; TPMS_ATTEST"`
	Signature []byte `json:"signature,omitempty" doc:"base64; TPMT_SIGNATURE, or ASN.1 without a TPM"`
}

// Captures is a device's captures, newest first.
type Captures struct {
	Captures []Capture `json:"captures"`
}

// NewCapture asks for raw bytes.
type NewCapture struct {
	Region string `json:"region" minLength:"1" maxLength:"256" doc:"flash region, as the device names it"`
	Offset uint64 `json:"offset,omitempty" doc:"in the region, in bytes"`
	Length uint32 `json:"length,omitempty" maximum:"67108864" doc:"in bytes; absent: to the end of the region"`
}

// SimilarFinding says on how many other devices a finding of a device's newest result is at present.
type SimilarFinding struct {
	Code      string   `json:"code"`
	Component string   `json:"component"`
	Observed  string   `json:"observed,omitempty"`
	Others    int      `json:"others" doc:"other devices whose newest result has the same code, component and observed value"`
	More      bool     `json:"more,omitempty" doc:"there are more than others says"`
	Devices   []string `json:"devices" doc:"ids of the first few"`
}

// SimilarFindings has an entry for every finding of a device's newest result, in its order.
type SimilarFindings struct {
	Result   int64            `json:"result,omitempty" doc:"seq of the result; absent: there is none"`
	Findings []SimilarFinding `json:"findings"`
}
