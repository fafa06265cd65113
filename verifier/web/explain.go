package web

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// explanation is why a device is in the state that it is in, in words, and what to do about it.
type explanation struct {
	Headline string // what the state means
	Reason   string // the one thing that decided it
	Impact   string // why that matters; empty where the reason says it all
	Findings []explainedFinding
	Notes    []explainedFinding // that change nothing: noted only, or waived
	Gaps     []gap
	Parts    []part
	Next     []step // about the device as a whole
}

// explainedFinding is a finding with what else is known of it.
type explainedFinding struct {
	result.Finding
	Number int
	Words  string // what happened, in a sentence
	Where  string // where, as far as the component does not say
	PCR    int    // -1: none
	Region string // flash region
	File   string
	Novel  bool               // no reference value has what was observed
	Others *v1.SimilarFinding // nil: not known
	// OthersQuery selects the devices that show the same.
	OthersQuery string
	// Search is what to look for to see where the observed value occurs; empty: it is no digest.
	Search string
	Steps  []step
}

// step is something to do: in words, with a page that helps and a command line for those who like one.
type step struct {
	Do, Link, LinkText, Command string
}

// gap is something that was not checked.
type gap struct{ What, Why string }

// part says what is known of a part of a device.
type part struct {
	Name, Hint, Status, Class, Strength string
	Findings                            int
}

// explain collects what is known of a device. r and similar may be nil.
func explain(d *v1.Device, r *v1.Result, similar *v1.SimilarFindings, now time.Time) *explanation {
	e := &explanation{Headline: headline(d), Next: stepsFor(d)}
	if r == nil {
		e.Reason = silence(d, now)
		return e
	}
	for i := range r.Findings {
		f := explainFinding(d, &r.Result, &r.Findings[i])
		if similar != nil && similar.Result == r.Seq && i < len(similar.Findings) {
			f.Others = &similar.Findings[i]
		}
		if f.Severity == result.Info {
			e.Notes = append(e.Notes, f)
			continue
		}
		f.Number = len(e.Findings) + 1
		e.Findings = append(e.Findings, f)
	}
	e.Reason, e.Impact = reasonOf(d, r, e.Findings, now)
	e.Gaps, e.Parts = gapsOf(&r.Result), partsOf(&r.Result)
	return e
}

// headline says what a state means, to somebody who never saw the word.
func headline(d *v1.Device) string {
	switch d.State {
	case result.Trusted:
		return "This device runs exactly what it should."
	case result.Warning:
		return "This device needs a look: not everything about it is proven to be good."
	case result.Untrusted:
		return "Do not rely on this device: it is not as it should be."
	case result.Stale:
		return "This device is silent: what it runs now is not known."
	case result.NeverAttested:
		if d.Status == "pending" {
			return "This device waits for somebody to let it in."
		}
		return "This device has proven nothing yet."
	case result.Unsupported:
		return "This device's evidence is authentic, but there is nothing to compare it with."
	}
	return "This page does not know the state " + string(d.State) + "."
}

// reasonOf says in a sentence why the state is what it is, and why that matters.
func reasonOf(d *v1.Device, r *v1.Result, findings []explainedFinding, now time.Time) (reason, impact string) {
	switch {
	case d.State == result.Stale || d.State == result.NeverAttested:
		reason = silence(d, now)
		if len(findings) > 0 {
			reason += " When it last reported: " + findings[0].Words
		}
		return reason, ""
	case len(findings) > 0:
		return findings[0].Words, impactOf(&findings[0].Finding)
	case d.State == result.Trusted && len(r.References) > 0:
		return "Everything that was appraised matches " + strings.Join(r.References, ", ") + ".", ""
	case d.State == result.Trusted:
		return "Everything that was appraised matches the reference values.", ""
	case d.State == result.Unsupported:
		return "No manifest and no baseline is about this model. Submit the vendor's manifest, or make a baseline from " +
			"a device " +
			"that you trust.", ""
	}
	return "The newest result gives no reason.", ""
}

// silence says how long nothing was heard of a device, and what was known before.
func silence(d *v1.Device, now time.Time) string {
	switch {
	case d.State == result.Stale && d.LastSeen != nil:
		return fmt.Sprintf("Nothing was heard of it for %s. Its last verdict was %s.", roughly(now.Sub(*d.LastSeen)),
			d.Verdict)
	case d.State == result.Stale:
		return fmt.Sprintf("Its evidence is overdue. Its last verdict was %s.", d.Verdict)
	case d.Status == "pending":
		return "Its TPM is not known here. Compare its id with what the device itself shows (probity-agent show), then " +
			"let it in."
	case d.Status == "approved":
		return "It was let in before it came: its agent has not reached the verifier yet."
	}
	return "It is enrolled, and no evidence of it was accepted yet."
}

// roughly says a duration in one unit.
func roughly(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= 2*u.size || d >= u.size && u.size > time.Minute {
			return plural(int(d/u.size), u.name)
		}
	}
	return plural(max(0, int(d/time.Second)), "second")
}

// impactOf says why a critical finding matters, to somebody who does not know what a PCR is.
func impactOf(f *result.Finding) string {
	if f.Severity != result.Critical {
		return ""
	}
	switch f.Submod {
	case result.Boot:
		return "What starts a machine controls everything that runs on it afterwards, also what the machine says of itself."
	case result.Identity:
		return "It is not certain that what answers is the device that was enrolled, in one piece."
	case result.Runtime:
		return "A program whose content nobody vouches for ran on this device."
	case result.Flash:
		return "What is in flash memory survives a new installation of the system and runs before it."
	case result.Platform:
		return "Somebody may have had the hardware in their hands."
	}
	return ""
}

var (
	pcrPattern    = regexp.MustCompile(`^PCR (\d{1,2})\b`)
	guidPattern   = regexp.MustCompile(`\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b`)
	digestPattern = regexp.MustCompile(`^(?:sha(?:1|256|384|512):)?([0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$`)
)

func explainFinding(d *v1.Device, r *result.Result, f *result.Finding) explainedFinding {
	e := explainedFinding{Finding: *f, Words: words(f), PCR: -1, Novel: isNovel[f.Code]}
	var where []string
	if m := pcrPattern.FindStringSubmatch(f.Component); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && n < 24 {
			e.PCR = n
			where = append(where, pcrMeaning(n))
		}
	}
	if guid := guidPattern.FindString(f.Component); guid != "" {
		where = append(where, "firmware module or volume "+guid)
	}
	if file, ok := strings.CutPrefix(f.Component, "file "); ok {
		e.File = file
	}
	if region, ok := strings.CutPrefix(f.Component, "flash region "); ok {
		e.Region = region
		for i := range r.Regions {
			if g := &r.Regions[i]; g.Name == region && g.Length > 0 {
				where = append(where, extent(g.Offset, g.Length)+" of "+cmp.Or(g.Source, "its flash memory"))
			}
		}
	}
	e.Where = strings.Join(where, "; ")
	same := url.Values{"finding": {f.Code}}
	if m := digestPattern.FindStringSubmatch(f.Observed); m != nil {
		e.Search = m[1]
		same.Set("digest", m[1])
	}
	e.OthersQuery = same.Encode()
	e.Steps = stepsOf(d, &e)
	return e
}

// words says in a sentence what happened.
func words(f *result.Finding) string {
	first, _, _ := strings.Cut(f.Meaning, " ")
	join := ": "
	switch first { // meanings that go on after the component; the others have a subject of their own
	case "was", "is", "has", "differs":
		join = " "
	}
	s := upperFirst(f.Component + join + f.Meaning)
	if f.Nearest != "" {
		s += ". What was observed is known from " + f.Nearest
	}
	return s + "."
}

func upperFirst(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

// pcrMeaning says what is measured into a PCR (TCG PC Client Platform Firmware Profile, section 3.3.4; UAPI.7 Linux
// TPM PCR Registry).
func pcrMeaning(n int) string {
	switch n {
	case 0:
		return "PCR 0 holds the firmware's own code"
	case 1:
		return "PCR 1 holds the firmware's settings and the machine's description"
	case 2:
		return "PCR 2 holds firmware of devices (option ROMs)"
	case 3:
		return "PCR 3 holds settings of device firmware"
	case 4:
		return "PCR 4 holds the boot loader and what it starts"
	case 5:
		return "PCR 5 holds partitions and boot loader settings"
	case 6:
		return "PCR 6 holds events of the platform's maker"
	case 7:
		return "PCR 7 holds Secure Boot's state and keys"
	case 8, 9:
		return fmt.Sprintf("PCR %d holds what the boot loader ran and read", n)
	case 10:
		return "PCR 10 holds the files that the kernel measured (IMA)"
	case 11, 12, 13:
		return fmt.Sprintf("PCR %d holds the unified kernel image and its parameters", n)
	case 14:
		return "PCR 14 holds the keys of shim (MOK)"
	}
	return fmt.Sprintf("PCR %d", n)
}

// submods in the order in which a machine comes up.
var submods = []result.Submod{result.Identity, result.Boot, result.Runtime, result.Flash, result.Platform}

func partsOf(r *result.Result) []part {
	var out []part
	for _, m := range submods {
		p := part{Strength: r.Strength.Of(m).Meaning()}
		p.Name, p.Hint = submodName(m)
		if p.Strength == "" {
			p.Strength = "not said"
		}
		p.Status, p.Class = tierWords(r.Submods[m].Status())
		for i := range r.Findings {
			if r.Findings[i].Submod == m && r.Findings[i].Severity != result.Info {
				p.Findings++
			}
		}
		out = append(out, p)
	}
	return out
}

// submodName says a part of a device in words, and what it is about.
func submodName(m result.Submod) (name, hint string) {
	switch m {
	case result.Identity:
		return "Identity", "which device it is"
	case result.Boot:
		return "Boot", "what started it"
	case result.Runtime:
		return "Files", "what ran since it started"
	case result.Flash:
		return "Flash memory", "where its firmware is kept"
	case result.Platform:
		return "Hardware", "components and enclosure"
	}
	return string(m), ""
}

// tierWords says an AR4SI tier in words, with its class in the style sheet.
func tierWords(tier string) (words, class string) {
	switch tier {
	case "affirming":
		return "as it should be", "good"
	case "warning":
		return "warning", "warn"
	case "contraindicated":
		return "not to be trusted", "bad"
	}
	return "no verdict", "quiet"
}

// gapsOf lists what an appraisal could not look at, or had nothing to compare with.
func gapsOf(r *result.Result) []gap {
	var out []gap
	told := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if !isGap[f.Code] {
			continue
		}
		why := f.Meaning
		if f.Observed != "" {
			why += " (" + f.Observed + ")"
		}
		out = append(out, gap{f.Component, why})
		told[f.Component] = true
	}
	for i := range r.Regions {
		g := &r.Regions[i]
		name := "flash region " + g.Name
		switch {
		case g.Status == result.RegionUnavailable && !told[name]:
			out = append(out, gap{name, "the device could not read it: " + cmp.Or(g.Reason, "it gives no reason")})
		case g.Left > 0:
			out = append(out, gap{name, bytesText(g.Left) + " of it are excluded from the digest"})
		}
	}
	for _, m := range submods {
		if r.Strength != (result.Strengths{}) && r.Strength.Of(m) == result.None {
			name, _ := submodName(m)
			out = append(out, gap{name, "nothing of it was appraised"})
		}
	}
	if r.IMAEntries == 0 && r.Strength.Runtime == result.Hardware {
		out = append(out, gap{"files that ran", "the list that the kernel keeps of them is empty"})
	}
	return out
}

// isNovel has the codes of findings that say that something is there of which no reference value knows.
var isNovel = map[string]bool{
	"boot-event-unknown": true, "boot-event-uncovered": true, "pcr-uncovered": true, "file-unknown": true, "flash-unknown": true,
	"inventory-unknown": true,
}

// isGap has the codes of findings that say that something could not be checked.
var isGap = map[string]bool{
	"no-reference": true, "boot-log-unavailable": true, "boot-log-malformed": true, "secure-boot-unknown": true,
	"ima-unavailable": true, "ima-unbound": true, "ima-violation": true, "ima-padded": true,
	"flash-missing": true, "flash-unavailable": true, "flash-unknown": true, "flash-malformed": true, "flash-old": true,
	"tamper-unavailable": true, "tamper-missing": true, "inventory-missing": true, "platform-malformed": true,
	"pcr-uncovered": true, "boot-event-uncovered": true, "bank-weak": true,
}
