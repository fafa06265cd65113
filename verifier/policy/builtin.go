package policy

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
)

// BuiltinName is the name of the built-in policy written as a document.
const BuiltinName = "builtin"

// Document writes the built-in policy as a document that means the same: what an operator's own one can begin with.
func (b Builtin) Document() []byte {
	var out bytes.Buffer
	p := &b.Policy
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	line("version: %s", schemaVersion)
	line("name: %s", BuiltinName)
	line("default:")
	line("  stale-after: %s", p.StaleAfter)
	line("  report-every: %s", b.Interval)
	banks := make([]string, len(p.Banks))
	for i, a := range p.Banks {
		banks[i] = a.String()
	}
	line("  banks: [%s]", strings.Join(banks, ", "))
	if len(p.Endorsers) > 0 {
		line("  endorsers:")
		for _, role := range []reference.Role{"vendor", "lab", "builder"} {
			if n := p.Endorsers[role]; n > 0 {
				line("    %s: %d", role, n)
			}
		}
	}
	selection := func(key string, s pcr.Selection) {
		if s != 0 {
			line("  %s: [%s]", key, strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Indices()), " ", ", "), "[]"))
		}
	}
	selection("required-pcrs", p.RequiredPCRs)
	selection("unlogged-pcrs", p.Unlogged)
	line("  secure-boot: %s", p.SecureBoot)
	line("  ima: %s", p.IMA)
	line("  boot-log: %s", p.BootLog)
	line("  flash: %s", p.Flash)
	if len(p.RequiredRegions) > 0 {
		line("  flash-regions:")
		for _, name := range p.RequiredRegions {
			line("    - %q", name)
		}
	}
	line("  flash-max-age: %s", p.FlashMaxAge)
	line("  min-identity: %s", p.MinLevel)
	line("  severities:")
	line("    file-unknown: %s", p.UnknownFile)
	line("    ima-violation: %s", p.Violation)
	return out.Bytes()
}
