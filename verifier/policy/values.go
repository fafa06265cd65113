package policy

import (
	"slices"
	"strconv"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto/daemon"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// banks reads PCR banks, preferred first.
func (f field) banks() []pcr.Algorithm {
	var out []pcr.Algorithm
	list := f.list(3)
	for _, e := range list {
		name := e.choice("sha256", "sha384", "sha1")
		a, err := pcr.ParseAlgorithm(name)
		switch {
		case name == "" || err != nil:
		case slices.Contains(out, a):
			e.fail("%q stands twice", name)
		default:
			out = append(out, a)
		}
	}
	if f.node.Content == nil {
		f.fail("empty: want at least one of sha256, sha384 and sha1")
	}
	return out
}

// maxEndorsers is the most independent endorsers of one role that can be asked for.
const maxEndorsers = 8

// endorsers reads how many independent endorsers of each role are needed; 0 takes back what the default asks for.
func (f field) endorsers(p *appraise.Policy) {
	count := func(role reference.Role) func(field) {
		return func(f field) {
			n, ok := f.number(0, maxEndorsers)
			switch {
			case !ok:
			case n == 0:
				delete(p.Endorsers, role)
			default:
				if p.Endorsers == nil {
					p.Endorsers = make(map[reference.Role]int)
				}
				p.Endorsers[role] = n
			}
		}
	}
	f.keys(map[string]func(field){"vendor": count("vendor"), "lab": count("lab"), "builder": count("builder")})
	if len(p.Endorsers) == 0 {
		p.Endorsers = nil // any one
	}
}

// pcrs reads a list of PCRs of those allowed.
func (f field) pcrs(allowed pcr.Selection) pcr.Selection {
	var out pcr.Selection
	for _, v := range f.list(pcr.Count) {
		text := v.text(maxText)
		i, err := strconv.Atoi(text)
		switch {
		case text == "":
		case err != nil || !allowed.Has(i):
			v.fail("%q: want numbers of PCRs, of %s", clip(text), allowed)
		case out.Has(i):
			v.fail("%d stands twice", i)
		default:
			out |= pcr.Select(i)
		}
	}
	return out
}

// unavailables are the kinds of evidence that a device may not have, and the findings that say so.
var unavailables = map[string]string{
	"boot-log": "boot-log-unavailable", "ima": "ima-unavailable", "flash": "flash-unavailable",
	"tamper": "tamper-unavailable", "secure-boot": "secure-boot-unknown",
}

func (f field) severity() result.Severity {
	return result.Severity(f.choice("info", "warning", "critical"))
}

// unavailable reads what it means that a kind of evidence is unavailable.
func (f field) unavailable(to map[string]result.Severity, said map[string]string) {
	readers := map[string]func(field){}
	for kind, code := range unavailables {
		readers[kind] = func(f field) { f.say(to, said, code) }
	}
	f.keys(readers)
}

// severitiesOf reads the severities of findings by their codes.
func (f field) severitiesOf(to map[string]result.Severity, said map[string]string) {
	readers := map[string]func(field){}
	for _, code := range appraise.Codes() {
		readers[code] = func(f field) { f.say(to, said, code) }
	}
	f.keys(readers)
}

// say notes the severity of a code, which may be said once in a section.
func (f field) say(to map[string]result.Severity, said map[string]string, code string) {
	s := f.severity()
	switch other := said[code]; {
	case s == "":
	case other != "":
		f.fail("the severity of %s was said by %s already", code, other)
	case code == appraise.CodeSoftware && s == result.Info:
		f.fail("a device without a TPM is never trusted: want warning or critical")
	default:
		to[code], said[code] = s, f.key
	}
}

// findings are the codes that can be waived.
func findings() []string {
	codes := append(appraise.Codes(), appraise.CodeRule)
	return slices.DeleteFunc(codes, func(c string) bool { return c == appraise.CodeSoftware })
}

// known returns text, where it is one of known.
func (f field) known(what string, known []string) string {
	v := f.text(maxText)
	if v != "" && !slices.Contains(known, v) {
		f.fail("unknown %s %q%s", what, clip(v), daemon.DidYouMean(v, known))
		return ""
	}
	return v
}
