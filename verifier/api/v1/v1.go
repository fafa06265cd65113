// Package v1 is the vocabulary of version 1 of the verifier's HTTP API: the JSON documents that the server writes and
// its clients read. It holds data and its encoding only, so that a client needs nothing of the server.
//
// Times are RFC 3339 in UTC; an absent time means "never". Lists that continue carry "next", the value of the parameter
// that asks for the rest. Limits: see the server, package api.
package v1

import (
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Device is one device as an operator sees it.
type Device struct {
	ID      string            `json:"id" doc:"hexadecimal SHA-256 of the endorsement key's public area"`
	Status  string            `json:"status" doc:"approved, pending or active"`
	State   result.State      `json:"state" doc:"state now; stale when evidence is overdue"`
	Verdict result.State      `json:"verdict" doc:"state that the newest result gave, however old it is"`
	Since   *time.Time        `json:"since,omitempty" doc:"since when the verdict is what it is"`
	Level   result.Level      `json:"identity_level" doc:"how well the identity is known"`
	Label   string            `json:"label,omitempty"`
	Group   string            `json:"group,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`

	Vendor   string `json:"vendor,omitempty" doc:"self-asserted"`
	Model    string `json:"model,omitempty" doc:"self-asserted"`
	Firmware string `json:"firmware,omitempty" doc:"self-asserted"`
	Agent    string `json:"agent,omitempty" doc:"version of the device's agent"`
	EKIssuer string `json:"ek_issuer,omitempty" doc:"who certified the endorsement key"`

	CertificateSerial  string     `json:"certificate_serial,omitempty"`
	CertificateExpires *time.Time `json:"certificate_expires,omitempty"`
	EnrolledAt         *time.Time `json:"enrolled_at,omitempty"`
	LastSeen           *time.Time `json:"last_seen,omitempty" doc:"when the newest accepted evidence came"`
	StaleAt            *time.Time `json:"stale_at,omitempty" doc:"when the verdict becomes stale without newer evidence"`
}

// Devices is a page of devices.
type Devices struct {
	Devices   []Device `json:"devices"`
	Next      string   `json:"next,omitempty" doc:"value of after for the next page"`
	Partial   bool     `json:"partial,omitempty" doc:"at most few of very many devices match: the page may have fewer than limit, or none, and next goes on with the search"`
	Total     int      `json:"total" doc:"devices on all pages"`
	TotalMore bool     `json:"total_more,omitempty" doc:"not all were counted: there are at least total"`
}

// DevicePatch changes what an operator may say of a device. Absent members stay as they are.
type DevicePatch struct {
	Label  *string           `json:"label,omitempty" maxLength:"128" doc:"name for the device; empty removes it"`
	Group  *string           `json:"group,omitempty" maxLength:"128" doc:"group; empty removes it"`
	Labels map[string]string `json:"labels,omitempty" maxProperties:"64" doc:"merged into the labels; an empty value removes a label"`
}

// Result is one appraisal: the result, and the same signed.
type Result struct {
	Seq int64  `json:"seq" doc:"ascends with time"`
	EAR string `json:"ear" doc:"signed Attestation Result (EAR as a JWT)"`
	result.Result
}

// Results is a page of results, newest first.
type Results struct {
	Results []Result `json:"results"`
	Next    int64    `json:"next,omitempty" doc:"value of before for the next page"`
}

// Event is something that happened. Events are never changed or deleted.
type Event struct {
	Seq    int64     `json:"seq"`
	At     time.Time `json:"at"`
	Device string    `json:"device,omitempty" doc:"id; absent when the event is not about one device"`
	Kind   string    `json:"kind"`
	Actor  string    `json:"actor"`
	Detail string    `json:"detail"`
}

// Events is a page of events, newest first.
type Events struct {
	Events []Event `json:"events"`
	Next   int64   `json:"next,omitempty" doc:"value of before for the next page"`
}

// Baseline is a signed document of reference values taken from a device.
type Baseline struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	Digest  string     `json:"digest" doc:"hexadecimal SHA-256 of the signed document"`
	Size    int        `json:"size" doc:"size of the signed document in bytes"`
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired,omitempty" doc:"when it went out of force"`
	Notes   []string   `json:"notes,omitempty" doc:"only when it was made: flash regions that the device could not read and the baseline lacks, and what else an operator should know of it"`
}

// Baselines is all baselines in ascending name, retired ones included.
type Baselines struct {
	Baselines []Baseline `json:"baselines"`
}

// NewBaseline asks for a baseline from what a device last attested.
type NewBaseline struct {
	Device     string `json:"device" minLength:"1" maxLength:"128" doc:"id, its prefix or label"`
	Name       string `json:"name,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"unique name; chosen by the verifier when absent"`
	ReportOnly []int  `json:"report_only_pcrs,omitzero" required:"false" maxItems:"24" uniqueItems:"true" doc:"PCRs whose change is reported but does not change the verdict; absent: 1 and 5; empty: none"`
	// ReportOnlyFlash takes names as the device gave them.
	ReportOnlyFlash []string `json:"report_only_flash,omitempty" maxItems:"128" uniqueItems:"true" doc:"names of flash regions whose change is reported but does not change the verdict"`
}

// Token is a token without its secret.
type Token struct {
	ID       string    `json:"id"`
	Operator bool      `json:"operator" doc:"opens this API; otherwise it lets devices enrol"`
	Uses     int       `json:"uses" doc:"how many more devices it lets in"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Revoked  bool      `json:"revoked"`
	Devices  []string  `json:"devices,omitempty" doc:"ids of the devices that it let in"`
	Role     Role      `json:"role,omitempty" enum:"viewer,operator,vendor,auditor,admin" doc:"of a token for the API: what it may do"`
	Vendors  []string  `json:"vendors,omitempty" doc:"of the role vendor: patterns of the vendors that it may speak for"`
	Name     string    `json:"name,omitempty" doc:"of a token for the API: what its maker calls it"`
}

// Tokens is all tokens, newest first.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// NewToken asks for a token: for devices to enrol, or for programs to ask the API.
type NewToken struct {
	Kind    string   `json:"kind,omitempty" enum:"enrolment,api" default:"enrolment" doc:"what it is for; one for the API only an admin makes"`
	Uses    int      `json:"uses,omitempty" minimum:"1" maximum:"1000000" default:"1" doc:"of the kind enrolment: how many devices it lets in"`
	TTL     int64    `json:"ttl_seconds,omitempty" minimum:"60" maximum:"31536000" default:"86400" doc:"how long it is valid, in seconds"`
	Role    Role     `json:"role,omitempty" enum:"viewer,operator,vendor,auditor,admin" doc:"of the kind api: what it may do"`
	Vendors []string `json:"vendors,omitempty" maxItems:"64" doc:"of the role vendor: patterns of the vendors that it may speak for"`
	Name    string   `json:"name,omitempty" maxLength:"128" doc:"of the kind api: what to call it"`
}

// CreatedToken is a new token with its secret, which is never shown again.
type CreatedToken struct {
	Token
	Secret string `json:"token" doc:"the whole token, as a device's agent needs it"`
}

// Counts says how many devices are in each state now.
type Counts struct {
	States map[result.State]int `json:"states"`
	Total  int                  `json:"total"`
}

// KeySet is a JSON Web Key Set (RFC 7517, section 5) of the keys that sign results.
type KeySet struct {
	Keys []Key `json:"keys"`
}

// Key is a P-256 public key as a JSON Web Key (RFC 7517; RFC 7518, section 6.2).
type Key struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x" doc:"base64url of the 32-byte big-endian coordinate"`
	Y         string `json:"y" doc:"base64url of the 32-byte big-endian coordinate"`
	ID        string `json:"kid" doc:"as in the header of the tokens"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// Candidate is one of several devices that an ambiguous name may mean.
type Candidate struct {
	ID    string `json:"id"`
	Label string `json:"label,omitempty"`
}

// Problem is an error (RFC 9457).
type Problem struct {
	Type       string          `json:"type,omitempty" doc:"about:blank: the status says it all"`
	Title      string          `json:"title" doc:"text of the HTTP status"`
	Status     int             `json:"status" doc:"HTTP status"`
	Detail     string          `json:"detail,omitempty" doc:"what went wrong and what to do"`
	Instance   string          `json:"instance,omitempty" doc:"names this request in the verifier's log"`
	Errors     []ProblemDetail `json:"errors,omitempty" doc:"what is wrong with the request"`
	Candidates []Candidate     `json:"candidates,omitempty" doc:"devices that an ambiguous name may mean"`
}

// ProblemDetail is one thing that is wrong with a request.
type ProblemDetail struct {
	Location string `json:"location,omitempty" doc:"such as body.label or query.limit"`
	Message  string `json:"message"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string {
	s := p.Detail
	if s == "" {
		s = p.Title
	}
	for _, e := range p.Errors {
		s += "; " + e.Message
		if e.Location != "" {
			s += " (" + e.Location + ")"
		}
	}
	return s
}

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of problem documents (RFC 9457, section 6.1).
func (p *Problem) ContentType(string) string { return "application/problem+json" }
