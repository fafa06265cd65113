package manifest

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Validate checks the rules of README.md, section 3, which Encode and Decode both enforce.
func (m *Manifest) Validate() error {
	if err := first(
		text("id", m.ID, MaxText, true), text("vendor", m.Vendor, MaxText, !m.IsDenyList()),
		text("model", m.Model, MaxText, !m.IsDenyList()), text("version", m.Version, MaxText, !m.IsDenyList()),
		text("advisory", m.Advisory, MaxText, false), m.validatePeriod(),
	); err != nil {
		return err
	}
	if m.IsDenyList() {
		if err := m.validateDenyList(); err != nil {
			return err
		}
	} else if len(m.Denied) > 0 {
		return errors.New("denied entries without an advisory")
	}
	for _, f := range []func() error{m.validatePCRs, m.validateRegions, m.validateFiles, m.validateReferences} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// first returns the first error that is not nil: one message, one line.
func first(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

// text checks a name or explanation: UTF-8 without control characters, so that it can be printed on a line.
func text(what, s string, limit int, required bool) error {
	switch {
	case required && s == "":
		return fmt.Errorf("%s: missing", what)
	case len(s) > limit:
		return fmt.Errorf("%s: %d bytes, at most %d allowed", what, len(s), limit)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s: %q is not UTF-8", what, s)
	case strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c >= 0x7f && c < 0xa0 }):
		return fmt.Errorf("%s: %q has control characters", what, s)
	}
	return nil
}

// maxSeconds is the last second of the year 9999, as seconds since 1970.
const maxSeconds = 253402300799

func moment(what string, t time.Time) error {
	if !t.IsZero() && (t.Nanosecond() != 0 || t.Unix() <= 0 || t.Unix() > maxSeconds) {
		return fmt.Errorf("%s: want a time in whole seconds from 1970 to 9999, got %s", what, t.Format(time.RFC3339Nano))
	}
	return nil
}

func (m *Manifest) validatePeriod() error {
	switch {
	case !m.NotBefore.IsZero() && m.NotAfter.IsZero():
		return errors.New("validity: it has a beginning, but no end")
	case !m.NotBefore.IsZero() && !m.NotBefore.Before(m.NotAfter):
		return fmt.Errorf("validity: it ends at %s, before it begins", m.NotAfter.Format(time.RFC3339))
	}
	return first(moment("validity: beginning", m.NotBefore), moment("validity: end", m.NotAfter))
}

func (m *Manifest) validateDenyList() error {
	switch {
	case m.Version != "" || m.SVN != 0 || m.MinSVN != 0 || len(m.PCRs)+len(m.Regions)+len(m.Files)+len(m.Supersedes) > 0:
		return errors.New("deny-list: it has reference values: publish them in a manifest without advisory")
	case m.Model != "" && m.Vendor == "":
		return errors.New("deny-list: a model without its vendor")
	case len(m.Denied)+len(m.Withdraws) == 0:
		return errors.New("deny-list: it denies and withdraws nothing")
	case len(m.Denied) > MaxDenied:
		return fmt.Errorf("deny-list: %d entries, at most %d allowed", len(m.Denied), MaxDenied)
	}
	for i, d := range m.Denied {
		if d.Component > DeniedFile {
			return fmt.Errorf("denied entry %d: unknown component %d", i, d.Component)
		}
		if err := first(digests(d.Digests), text("note", d.Note, MaxNote, false)); err != nil {
			return fmt.Errorf("denied entry %d: %w", i, err)
		}
	}
	return nil
}

func digests(list Digests) error {
	if len(list) == 0 {
		return errors.New("digests: there are none")
	}
	for i, d := range list {
		if err := digest(d); err != nil {
			return err
		}
		if i > 0 && list[i-1].Algorithm >= d.Algorithm {
			return fmt.Errorf("digests: %s after %s: want one of each, in ascending order", d.Algorithm, list[i-1].Algorithm)
		}
	}
	return nil
}

func digest(d Digest) error {
	if number(d.Algorithm) == 0 {
		return fmt.Errorf("digests: a manifest has no digests by %s: want sha256, sha384 or sha512", d.Algorithm)
	}
	if len(d.Value) != d.Algorithm.Size() {
		return fmt.Errorf("digests: %s has %d bytes, got %d", d.Algorithm, d.Algorithm.Size(), len(d.Value))
	}
	return nil
}

func (m *Manifest) validatePCRs() error {
	events, last := 0, -1
	for i := range m.PCRs {
		p := &m.PCRs[i]
		if p.Index <= last || p.Index >= pcr.Count {
			return fmt.Errorf("PCR %d: want PCRs 0 to %d in ascending order, each once", p.Index, pcr.Count-1)
		}
		last = p.Index
		if events += len(p.Events); events > MaxEvents {
			return fmt.Errorf("PCR %d: more than %d boot events", p.Index, MaxEvents)
		}
		if err := p.validate(); err != nil {
			return fmt.Errorf("PCR %d: %w", p.Index, err)
		}
	}
	return nil
}

func (p *PCR) validate() error {
	switch {
	case p.Coverage > Informative:
		return fmt.Errorf("unknown coverage %d", p.Coverage)
	case len(p.Values) > MaxValues:
		return fmt.Errorf("%d values, at most %d allowed", len(p.Values), MaxValues)
	case len(p.Values)+len(p.Events) == 0 && p.Coverage == Complete:
		return errors.New("neither values nor events: leave the PCR out, or make its coverage partial")
	}
	if err := text("note", p.Note, MaxNote, false); err != nil {
		return err
	}
	for i, v := range p.Values {
		if err := digests(v); err != nil {
			return fmt.Errorf("value %d: %w", i, err)
		}
	}
	seen := make(map[string]struct{}, len(p.Events))
	for i := range p.Events {
		e := &p.Events[i]
		if err := first(text("slot", e.Slot, MaxText, true), text("note", e.Note, MaxNote, false), digests(e.Digests)); err != nil {
			return fmt.Errorf("event %d (%q): %w", i, e.Slot, err)
		}
		for _, d := range e.Digests {
			key := e.Slot + "\x00" + string(d.Value)
			if _, twice := seen[key]; twice {
				return fmt.Errorf("event %d (%q): %s is there twice", i, e.Slot, d)
			}
			seen[key] = struct{}{}
		}
	}
	return nil
}

func (m *Manifest) validateRegions() error {
	if len(m.Regions) > MaxRegions {
		return fmt.Errorf("%d flash regions, at most %d allowed", len(m.Regions), MaxRegions)
	}
	names := make(map[string]bool, len(m.Regions))
	for i := range m.Regions {
		r := &m.Regions[i]
		if err := r.validate(); err != nil {
			return fmt.Errorf("flash region %q: %w", r.Name, err)
		}
		if names[r.Name] {
			return fmt.Errorf("flash region %q: there are two", r.Name)
		}
		names[r.Name] = true
	}
	return nil
}

func (r *Region) validate() error {
	if err := first(text("name", r.Name, MaxText, true), text("note", r.Note, MaxNote, false), digests(r.Digests)); err != nil {
		return err
	}
	if r.Length == 0 || r.Offset > MaxAddress || r.Length > MaxAddress-r.Offset {
		return fmt.Errorf("%d bytes at %d are no region", r.Length, r.Offset)
	}
	if len(r.Excluded) > MaxExcluded {
		return fmt.Errorf("%d excluded ranges, at most %d allowed", len(r.Excluded), MaxExcluded)
	}
	var end uint64
	for i, x := range r.Excluded {
		if x.Length == 0 || x.Offset > r.Length || x.Length > r.Length-x.Offset {
			return fmt.Errorf("excluded range %d: %d bytes at %d do not lie in the region's %d", i, x.Length, x.Offset, r.Length)
		}
		if i > 0 && x.Offset <= end {
			return fmt.Errorf("excluded range %d: it touches the one before, or is out of order", i)
		}
		if err := text("reason", x.Reason, MaxNote, true); err != nil {
			return fmt.Errorf("excluded range %d: %w", i, err)
		}
		end = x.Offset + x.Length
	}
	if r.ExcludedLength() == r.Length {
		return errors.New("all of it is excluded: leave the region out")
	}
	return nil
}

func (m *Manifest) validateFiles() error {
	if len(m.Files) > MaxFiles {
		return fmt.Errorf("%d files, at most %d allowed", len(m.Files), MaxFiles)
	}
	for i := range m.Files {
		f := &m.Files[i]
		switch p := f.Path; {
		case !strings.HasPrefix(p, "/") || p == "/" || path.Clean(p) != p:
			return fmt.Errorf("file %q: want an absolute path without . and .. and double slashes", p)
		case len(p) > MaxPath:
			return fmt.Errorf("file %.80q...: path of %d bytes, at most %d allowed", p, len(p), MaxPath)
		case !utf8.ValidString(p) || strings.ContainsRune(p, 0):
			return fmt.Errorf("file %q: the path is not UTF-8 without NUL, which CoSWID demands", p)
		}
		if err := digest(f.Digest); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	return nil
}

func (m *Manifest) validateReferences() error {
	if max(len(m.Supersedes), len(m.Withdraws)) > MaxReferences {
		return fmt.Errorf("it supersedes %d and withdraws %d manifests, at most %d allowed", len(m.Supersedes), len(m.Withdraws),
			MaxReferences)
	}
	seen := make(map[string]bool)
	check := func(what, id string, err error) error {
		if err = first(text("id", id, MaxText, true), err); err == nil && (seen[id] || id == m.ID) {
			err = errors.New("it is the manifest itself, or named twice")
		}
		seen[id] = true
		if err != nil {
			return fmt.Errorf("%s %q: %w", what, id, err)
		}
		return nil
	}
	for _, s := range m.Supersedes {
		if err := check("supersedes", s.ID, moment("until", s.Until)); err != nil {
			return err
		}
	}
	for _, w := range m.Withdraws {
		if err := check("withdraws", w.ID, text("reason", w.Reason, MaxNote, true)); err != nil {
			return err
		}
	}
	return nil
}
