// Package policy reads policy documents: which group of devices must prove what, what weighs how much, what is waived
// and until when.
//
// A document is YAML, read strictly: an unknown key is an error that names the nearest known one, and every error says
// the line. README.md beside this file is the reference of its keys. Compile turns a document into appraise.Policy
// values and appraise.Rules, once; For then selects those of one device by what the verifier knows of it. Both are
// pure: the same document, device, evidence and time always give the same result.
//
// What the keys do not foresee is said in CEL expressions (cel.dev), compiled with the document against fixed types.
// They have no side effects, no source of time but the variable now, no access to anything but the facts of the result,
// and a bounded cost; one that fails is itself a finding of its rule's severity.
//
// Limits: see limits.go. Vendor and model are what a device said of itself when it first attested: a group that asks
// for less than the default should not be matched by these alone.
package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

// Device is what a policy may know of a device. Group, Label and Labels are the operator's words, the rest but ID and
// Level the device's own.
type Device struct {
	ID, Label, Group        string
	Labels                  map[string]string
	Vendor, Model, Firmware string
	Agent                   string // version
	Level                   result.Level
}

// Builtin is what holds where a document says nothing.
type Builtin struct {
	Policy   appraise.Policy
	Interval time.Duration // how often a device reports
}

// InForce is what holds for one device. It is shared: do not change it.
type InForce struct {
	Policy   *appraise.Policy
	Rules    appraise.Rules // nil: there is no document
	Interval time.Duration  // how often the device reports
	Group    string         // of the document, "default" where none matches
	ID       string         // as results name it
}

// Of returns what holds without a document.
func (b Builtin) Of() InForce {
	p := b.Policy.Seal()
	return InForce{Policy: p, Interval: b.Interval, Group: defaultGroup, ID: p.ID()}
}

// Document is a compiled policy document. It is safe for concurrent use.
type Document struct {
	Name    string
	Digest  string // hexadecimal SHA-256 of the text
	Version int64
	groups  []*group // in the order of the document, the default last
	waivers []waiver
}

const defaultGroup = "default"

// group is a part of the document that holds for the devices that it matches.
type group struct {
	name  string
	match match
	settings
	sealed *appraise.Policy
	id     string
}

// Compile reads a document and compiles everything in it. version is the one under which it is or will be stored. The
// error is always an *Error.
func Compile(text []byte, version int64, b Builtin) (*Document, error) {
	sum := sha256.Sum256(text)
	d := &Document{Digest: hex.EncodeToString(sum[:]), Version: version}
	p := &parser{builtin: b}
	if root := p.root(text); root != nil {
		p.document(root, d)
	}
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b Problem) int { return a.Line - b.Line })
		return nil, &Error{Problems: p.problems[:min(len(p.problems), maxProblems)]}
	}
	for _, g := range d.groups {
		g.policy.Name = d.Name + ":" + g.name
		g.sealed = g.policy.Seal()
		g.id = fmt.Sprintf("%s@%d/%s/%s", d.Name, version, g.name, d.Digest[:16])
	}
	return d, nil
}

// For returns what holds for a device: the first group that matches it, else the default.
func (d *Document) For(dev Device) InForce {
	for _, g := range d.groups {
		if g.match.matches(&dev) {
			return InForce{
				Policy: g.sealed, Interval: g.interval, Group: g.name, ID: g.id,
				Rules: &bound{group: g, document: d, device: dev},
			}
		}
	}
	panic("policy: the default matches every device")
}

// Shortest returns the shortest time of silence after which a device of any group is stale.
func (d *Document) Shortest() time.Duration {
	least := d.groups[0].policy.StaleAfter
	for _, g := range d.groups {
		least = min(least, g.policy.StaleAfter)
	}
	return least
}

// Ending is a waiver that expired or is about to.
type Ending struct {
	Text string // what is waived, and who owns it
	At   time.Time
	Over bool // it expired
	Line int  // of the document, from 1
}

// Endings returns the waivers that expired or are about to, in the order of the document.
func (d *Document) Endings(now time.Time) []Ending {
	var out []Ending
	for i := range d.waivers {
		if w := &d.waivers[i]; w.expired(now.Add(soon)) {
			out = append(out, Ending{
				Text: fmt.Sprintf("waiver of %s on %s, owner %s", w.finding, w.component, w.owner), At: w.expires, Over: w.expired(now), Line: w.line,
			})
		}
	}
	return out
}

// Notices tells operators of waivers that expired or are about to.
func (d *Document) Notices(now time.Time) []string {
	var out []string
	for _, e := range d.Endings(now) {
		verb := "expires"
		if e.Over {
			verb = "expired"
		}
		out = append(out, fmt.Sprintf("line %d: %s: %s at %s", e.Line, e.Text, verb, e.At.Format(time.RFC3339)))
	}
	return out
}

// Problem is one thing that is wrong with a document.
type Problem struct {
	Line   int    // from 1; 0: the whole document
	Key    string // path of keys, such as "groups[2].match.labels"; empty: the whole document
	Detail string // what is wrong, what was expected
}

// String returns the problem in one line.
func (p Problem) String() string {
	s := p.Detail
	if p.Key != "" {
		s = p.Key + ": " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// Error says what is wrong with a document: the first problems in ascending order of lines.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "policy document: " + strings.Join(lines, "; ")
}
