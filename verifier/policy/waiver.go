package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

// waiver says that a finding does not count for a while.
type waiver struct {
	finding         string // code
	component       string // glob
	devices, groups []string
	owner, reason   string
	expires         time.Time
	line            int
}

// waiver reads one waiver. Everything but one of devices and groups must be there.
func (f field) waiver() waiver {
	w := waiver{line: f.node.Line}
	there := map[string]bool{}
	mark := func(name string, read func(field)) func(field) {
		return func(f field) { there[name] = true; read(f) }
	}
	before := len(f.problems)
	f.keys(map[string]func(field){
		"finding":   mark("finding", func(f field) { w.finding = f.waivable() }),
		"component": mark("component", func(f field) { w.component = f.text(maxPattern) }),
		"devices":   mark("devices", func(f field) { w.devices = f.deviceNames() }),
		"groups":    mark("devices", func(f field) { w.groups = f.texts(maxPattern) }),
		"owner":     mark("owner", func(f field) { w.owner = f.text(maxText) }),
		"reason":    mark("reason", func(f field) { w.reason = f.text(maxText) }),
		"expires":   mark("expires", func(f field) { w.expires = f.moment() }),
	})
	if len(f.problems) > before {
		return w
	}
	for _, need := range []struct{ key, why string }{
		{"finding", "the code of what is waived"},
		{"component", `the component that is meant, or "*"`},
		{"owner", "who answers for it"},
		{"reason", "why"},
		{"expires", "its last day: no waiver lasts for ever"},
	} {
		if !there[need.key] {
			f.fail("the key %s is missing: say %s", need.key, need.why)
		}
	}
	if len(w.devices)+len(w.groups) == 0 {
		f.fail(`devices and groups are missing: say for which devices, or groups: ["*"] for all`)
	}
	return w
}

func (f field) waivable() string {
	if f.node.Value == appraise.CodeSoftware {
		f.fail("a device without a TPM is never trusted: its finding cannot be waived")
		return ""
	}
	return f.known("finding", findings())
}

// deviceNames reads ids of devices, in full or their first digits, and globs of labels.
func (f field) deviceNames() []string {
	list := f.texts(maxPattern)
	for i, name := range list {
		if n := len(name); hexadecimal(name) && n >= 8 && n < minID {
			field{f.parser, fmt.Sprintf("%s[%d]", f.key, i), f.node.Content[i]}.
				fail("%q: want at least %d digits of a device id, so that it stays the only one", name, minID)
		}
	}
	return list
}

func hexadecimal(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// covers reports whether the waiver is for this finding of this device, at whatever time.
func (w *waiver) covers(f *result.Finding, d *Device) bool {
	return w.finding == f.Code && w.isFor(d) && glob(w.component, f.Component)
}

func (w *waiver) isFor(d *Device) bool {
	if w.groups != nil && anyOf(w.groups, d.Group) {
		return true
	}
	for _, name := range w.devices {
		if len(name) >= minID && hexadecimal(name) && strings.HasPrefix(d.ID, name) || d.Label != "" && glob(name, d.Label) {
			return true
		}
	}
	return false
}

func (w *waiver) expired(now time.Time) bool { return !now.Before(w.expires) }
