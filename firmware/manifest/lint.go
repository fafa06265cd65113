package manifest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/probity-attest/probity/firmware/pcr"
)

// excludedShare is the part of a region, in per cent, from which on excluding it is worth a warning: NVRAM takes about
// 3 % of a 16 MiB UEFI image.
const excludedShare = 10

// Warning is something in a valid manifest that weakens it, or that its author may not have meant.
type Warning struct {
	Code      string `json:"code"`      // stable, such as "no-min-svn"
	Component string `json:"component"` // "manifest", "PCR 4", "flash region bios"
	Message   string `json:"message"`   // what it means and what to do, one sentence each
}

// Lint returns what is worth a second look in a valid manifest, in the order of the manifest.
func Lint(m *Manifest) []Warning {
	l := &linter{}
	l.period(m)
	if m.IsDenyList() {
		return l.out
	}
	l.versions(m)
	l.content(m)
	for i := range m.PCRs {
		l.register(&m.PCRs[i])
	}
	for i := range m.Regions {
		l.region(m, i)
	}
	return l.out
}

type linter struct{ out []Warning }

func (l *linter) warn(code, component, format string, args ...any) {
	l.out = append(l.out, Warning{Code: code, Component: component, Message: fmt.Sprintf(format, args...)})
}

const whole = "manifest"

func (l *linter) period(m *Manifest) {
	if m.NotAfter.IsZero() {
		l.warn("no-validity-end", whole, "It never expires. State until when it will be maintained.")
	}
	for _, s := range m.Supersedes {
		if s.Until.IsZero() {
			l.warn("no-overlap-end", whole, "It supersedes %q, but without an end of the overlap the old version stays valid until "+
				"its own end. State until when both are valid.", s.ID)
		}
	}
}

func (l *linter) versions(m *Manifest) {
	if m.SVN == 0 {
		l.warn("no-svn", whole, "It states no security version number, so that later manifests can't exclude this version by one.")
	}
	switch {
	case m.MinSVN == 0:
		l.warn("no-min-svn", whole, "It states no least security version number, so that a rollback to a version that is known to be "+
			"vulnerable isn't noticed.")
	case m.MinSVN > m.SVN:
		l.warn("min-svn-above-svn", whole, "Its own security version number %d is below the least safe one, %d: nothing can comply.",
			m.SVN, m.MinSVN)
	}
}

func (l *linter) content(m *Manifest) {
	if len(m.PCRs) == 0 {
		l.warn("no-pcrs", whole, "It has nothing about the boot: a device's boot can't be appraised with it.")
	}
	if len(m.Files) == 0 {
		l.warn("no-files", whole, "It has no files: what runs after the boot can't be appraised with it.")
	}
	if len(m.Regions) == 0 {
		l.warn("no-regions", whole, "It has no flash regions: what is in flash but not measured at boot stays unseen.")
	}
}

// codePCRs are those into which executable code is measured (TCG PC Client Platform Firmware Profile 1.06, section
// 3.3.4).
var codePCRs = pcr.Select(0, 2, 4, 11)

func (l *linter) register(p *PCR) {
	at := fmt.Sprintf("PCR %d", p.Index)
	switch {
	case p.Index == 10:
		l.warn("pcr-unpredictable", at, "IMA extends it with every file that is read: no value or event of it recurs.")
	case p.Index >= 16:
		l.warn("pcr-resettable", at, "Software can reset it: what is in it proves nothing.")
	}
	if len(p.Values) > 0 && len(p.Events) == 0 && !untouched(p) {
		l.warn("value-without-events", at, "It has a value but no events: a difference can't be explained. List the events.")
	}
	if p.Coverage != Complete && codePCRs.Has(p.Index) {
		l.warn("code-incomplete", at, "Code is measured into it, but coverage is %s: code that the manifest doesn't know changes no "+
			"verdict.", p.Coverage)
	}
	if p.Coverage != Complete && p.Note == "" {
		l.warn("no-reason", at, "Coverage is %s without a note that says why.", p.Coverage)
	}
	l.events(p, at)
}

// untouched reports whether a PCR must have the value that it starts with: nothing is measured into it.
func untouched(p *PCR) bool {
	for _, v := range p.Values {
		for _, d := range v {
			if len(bytes.Trim(d.Value, "\x00")) > 0 {
				return false
			}
		}
	}
	return true
}

func (l *linter) events(p *PCR, at string) {
	banks := map[pcr.Algorithm]int{}
	required := false
	for i := range p.Events {
		required = required || p.Events[i].Required
		for _, d := range p.Events[i].Digests {
			banks[d.Algorithm]++
		}
	}
	if len(p.Events) > 0 && len(p.Values) == 0 && !required {
		l.warn("nothing-required", at, "None of its events is required: a boot that measures nothing into it passes.")
	}
	for _, a := range []pcr.Algorithm{pcr.SHA256, pcr.SHA384, pcr.SHA512} {
		if n := banks[a]; n > 0 && n < len(p.Events) {
			l.warn("bank-missing", at, "%d of %d events have no %s digest: a device with that bank can't be appraised with it.",
				len(p.Events)-n, len(p.Events), a)
		}
	}
}

func (l *linter) region(m *Manifest, i int) {
	r := &m.Regions[i]
	at := "flash region " + r.Name
	if n := r.ExcludedLength(); n > r.Length/100*excludedShare {
		l.warn("excluded-share", at, "%d of %d bytes are excluded: whatever hides there isn't measured. Split the region, or exclude "+
			"less.", n, r.Length)
	}
	if r.Digests.Get(pcr.SHA256) == nil {
		l.warn("no-sha256", at, "It has no SHA-256 digest, which is what devices report of flash.")
	}
	overlaps := slices.IndexFunc(m.Regions[:i], func(o Region) bool {
		return o.Offset < r.Offset+r.Length && r.Offset < o.Offset+o.Length
	})
	if overlaps >= 0 {
		l.warn("regions-overlap", at, "It shares bytes with region %s: a change there is reported twice.", m.Regions[overlaps].Name)
	}
}
