package enroll

import (
	"sync"
	"time"

	"github.com/probity-attest/probity/proto"
)

// Codes of refusals (proto.EnrollDenied). They are stable.
const (
	CodeMalformed       = "hello-malformed"         // the hello cannot be read
	CodeDevice          = "device-id-wrong"         // the topic's device id is not that of the hello's key
	CodeEK              = "ek-unsuitable"           // the EK's attributes are not those of an endorsement key
	CodeAK              = "ak-unsuitable"           // the AK is not a restricted signing key made by a TPM
	CodeTLSKey          = "tls-key-unsuitable"      // the TLS key is not certified by the AK
	CodeSoftwareKey     = "software-key-unsuitable" // not a P-256 key
	CodeCertificate     = "ek-certificate-wrong"    // the EK certificate is for another key
	CodeUnverified      = "ek-unverified"           // was certified, no longer is
	CodeNonceExpired    = "nonce-expired"
	CodeNonceForeign    = "nonce-foreign"
	CodeProofWrong      = "proof-wrong"
	CodeIdentityChanged = "identity-changed" // known EK with another AK, TLS key or other claims
	CodeWithheld        = "renewal-withheld" // the device is untrusted
	CodeTokenMissing    = "token-missing"
	CodeTokenUnknown    = "token-unknown"
	CodeTokenExpired    = "token-expired"
	CodeTokenUsed       = "token-used"
)

// Kinds of events (store.Event).
const (
	EventEnrolled        = "enrolled"
	EventRenewed         = "renewed"
	EventPending         = "enrolment-pending"
	EventRefused         = "enrolment-refused"
	EventIdentityChanged = "identity-changed"
	EventUnverified      = "ek-certificate-unverified"
	EventLevelChanged    = "level-changed"
	EventWithheld        = "renewal-withheld"
)

// retryNow is for refusals that a new hello mends.
const retryNow = time.Second

// denial is a refusal on its way out. Its text goes to the device: it says nothing of secrets.
type denial struct {
	code, text string
	retry      time.Duration
}

func deny(code string, retry time.Duration, text string) error {
	return &denial{code: code, text: text, retry: retry}
}

func (d *denial) Error() string { return d.code + ": " + d.text }

func (d *denial) message() *proto.EnrollDown {
	text := d.text
	if len(text) > proto.MaxReason {
		text = clip(text)
	}
	return &proto.EnrollDown{Denied: &proto.EnrollDenied{Code: d.code, Message: text, Retry: seconds(d.retry)}}
}

// seconds rounds up, so that nothing short becomes "never".
func seconds(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((d+time.Second-1)/time.Second, 1<<31))
}

// quiet remembers what was reported lately, in bounded memory. The zero quiet is ready to use.
type quiet struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// first reports whether key was not seen within quietTime, and remembers it.
func (q *quiet) first(key string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if at, ok := q.seen[key]; ok && now.Sub(at) < quietTime && !now.Before(at) {
		return false
	}
	if len(q.seen) >= maxQuiet {
		for k, at := range q.seen {
			if now.Sub(at) >= quietTime || now.Before(at) {
				delete(q.seen, k)
			}
		}
		for k := range q.seen { // still full: forget any, which costs a repeated event at most
			if len(q.seen) < maxQuiet {
				break
			}
			delete(q.seen, k)
		}
	}
	if q.seen == nil {
		q.seen = make(map[string]time.Time)
	}
	q.seen[key] = now
	return true
}

func (q *quiet) forget(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.seen, key)
}
