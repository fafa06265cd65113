// Package audit is the form of the audit log: entries of who did or saw what, each chained to the one before by SHA-256.
//
// An entry's chain is a digest over the chain of the entry before and the entry itself (see Entry.Link), so that no entry
// can be changed, inserted or taken out without changing the chain of all that follow. Exports are JSON, one entry a
// line, in ascending order; Verify recomputes the chain of one and needs nothing else.
//
// Limits: a chain shows that a log is whole, not that it is the only one. Whoever can write the database can drop the
// newest entries, or write another log from some entry on and chain it again. Who wants to notice that keeps the chain of
// a last entry elsewhere, as every export does, and looks for it in later ones.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// Digest is a SHA-256 digest; as text it is lower-case hexadecimal. The zero digest stands before the first entry.
type Digest [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("digest of %d characters, want %d", len(text), hex.EncodedLen(len(d)))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// Outcomes of what was asked.
const (
	OK      = "ok"      // done
	Refused = "refused" // not permitted
	Failed  = "failed"  // permitted, and not done
)

// Entry is something that somebody did or saw. In JSON it is api/v1.AuditEntry.
type Entry struct {
	Seq     int64     `json:"seq"`               // 1, 2, 3 ...
	At      time.Time `json:"at"`                // UTC, microseconds; never before the entry before
	Actor   string    `json:"actor"`             // who; empty: nobody knows
	Role    string    `json:"role,omitempty"`    // in which the actor did it
	Action  string    `json:"action"`            // id of the operation of the API
	Object  string    `json:"object,omitempty"`  // what it was done to: path of the API
	Outcome string    `json:"outcome"`           // OK, Refused or Failed
	Status  int       `json:"status"`            // HTTP status of the answer
	Remote  string    `json:"remote,omitempty"`  // address that asked
	Request string    `json:"request,omitempty"` // id of the request in the verifier's log
	Detail  string    `json:"detail,omitempty"`
	Times   int       `json:"times,omitempty"` // how often, of one that stands for several; otherwise 0
	Before  Digest    `json:"before"`          // chain of the entry before
	Chain   Digest    `json:"chain"`           // Link of this entry
}

// domain keeps digests of entries apart from all others.
const domain = "probity-audit-v1\x00"

// Link returns the chain of the entry: SHA-256 over the domain, Before, and the other fields but Chain in the order of the
// struct, numbers as 8 bytes (big-endian two's complement; the time as microseconds since 1970), texts as their length in
// 8 such bytes and their UTF-8.
func (e *Entry) Link() Digest {
	b := append([]byte(domain), e.Before[:]...)
	number := func(n int64) { b = binary.BigEndian.AppendUint64(b, uint64(n)) }
	text := func(s string) {
		number(int64(len(s)))
		b = append(b, s...)
	}
	number(e.Seq)
	number(e.At.UnixMicro())
	for _, s := range []string{e.Actor, e.Role, e.Action, e.Object, e.Outcome} {
		text(s)
	}
	number(int64(e.Status))
	for _, s := range []string{e.Remote, e.Request, e.Detail} {
		text(s)
	}
	number(int64(e.Times))
	return sha256.Sum256(b)
}
