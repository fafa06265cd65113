package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func explainFinding(d *v1.Device, r *result.Result, f *result.Finding) explained {
	e := explained{Finding: *f, Where: placeOf(r, f)}
	e.Words = words(f)
	e.Steps = stepsOf(d, &e)
	return e
}

// words says in a sentence what happened.
func words(f *result.Finding) string {
	s := f.Component + " " + f.Meaning
	if startsClause(f.Meaning) {
		s = f.Component + ": " + f.Meaning
	}
	if f.Nearest != "" {
		s += fmt.Sprintf(". What was observed is known from %s", f.Nearest)
	}
	return s + "."
}

// startsClause reports whether a meaning has a subject of its own: the others go on after the component.
func startsClause(meaning string) bool {
	first, _, _ := strings.Cut(meaning, " ")
	switch first {
	case "was", "is", "has", "differs":
		return false
	}
	return true
}

var (
	pcrPattern  = regexp.MustCompile(`^PCR (\d{1,2})\b`)
	guidPattern = regexp.MustCompile(`\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b`)
)

// placeOf finds where a finding is by what it and the result say.
func placeOf(r *result.Result, f *result.Finding) place {
	var p place
	if m := pcrPattern.FindStringSubmatch(f.Component); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			p.PCR = &n
		}
	}
	p.Module = guidPattern.FindString(f.Component)
	if file, ok := strings.CutPrefix(f.Component, "file "); ok {
		p.File = file
	}
	if region, ok := strings.CutPrefix(f.Component, "flash region "); ok {
		p.Region = region
		for i := range r.Regions {
			if g := &r.Regions[i]; g.Name == region {
				p.Source, p.Offset, p.Length = g.Source, g.Offset, g.Length
			}
		}
	}
	return p
}

// describe says a place in words that the finding's component does not say already.
func (p place) describe() string {
	var parts []string
	if p.Source != "" {
		parts = append(parts, fmt.Sprintf("%d bytes at %#x of %s", p.Length, p.Offset, p.Source))
	}
	if p.PCR != nil {
		parts = append(parts, pcrMeaning(*p.PCR))
	}
	if p.Module != "" {
		parts = append(parts, "firmware module or volume "+p.Module)
	}
	return strings.Join(parts, "; ")
}

// pcrMeaning says what is measured into a PCR (TCG PC Client Platform Firmware Profile, section 3.3.4; UAPI.7 Linux TPM PCR
// Registry).
func pcrMeaning(n int) string {
	switch n {
	case 0:
		return "PCR 0: the firmware's own code"
	case 1:
		return "PCR 1: the firmware's settings and the machine's description"
	case 2:
		return "PCR 2: firmware of devices (option ROMs)"
	case 3:
		return "PCR 3: settings of device firmware"
	case 4:
		return "PCR 4: boot loader and what it starts"
	case 5:
		return "PCR 5: partitions and boot loader settings"
	case 6:
		return "PCR 6: events of the platform's maker"
	case 7:
		return "PCR 7: Secure Boot"
	case 8, 9:
		return fmt.Sprintf("PCR %d: what the boot loader ran and read", n)
	case 10:
		return "PCR 10: files that the kernel measured (IMA)"
	case 11, 12, 13:
		return fmt.Sprintf("PCR %d: the unified kernel image and its parameters", n)
	case 14:
		return "PCR 14: keys of shim (MOK)"
	}
	return ""
}

// stepsOf says what to do about a finding. The commands are complete but for names that only a person can know, which are in
// capitals.
func stepsOf(d *v1.Device, e *explained) []step {
	id := clipID(d.ID)
	steps := []step{{Do: e.Action}}
	if e.Severity == result.Info {
		return steps
	}
	switch f := &e.Finding; {
	case e.Where.Region != "" && hasContent[f.Code]:
		file := fileName(e.Where.Region)
		steps = append(steps,
			step{
				"have the device send the region's raw bytes, if its owner's charter allows it",
				fmt.Sprintf("probity device capture %s --region %s -O %s", id, shellQuote(e.Where.Region), file),
			},
			step{"see which firmware modules changed", fmt.Sprintf("probity image diff %s VENDOR-IMAGE", file)})
	case f.Submod == result.Boot && f.Code == "no-reference", f.Code == "flash-unknown", f.Code == "file-unknown":
		steps = append(steps, step{"if you trust what this device runs now", "probity baseline create --device " + id})
	case f.Submod == result.Boot, f.Submod == result.Runtime:
		steps = append(steps, step{"if the change was planned and you trust this device", "probity baseline create --device " + id})
	case strings.HasSuffix(f.Code, "-unavailable"):
		steps = append(steps, step{"after the cause is mended, ask for new evidence", fmt.Sprintf("probity device attest %s --wait", id)})
	}
	if e.Nearest != "" && e.Severity == result.Critical {
		steps = append(steps, step{"see which reference values know what was observed: " + e.Nearest, "probity baseline list"})
	}
	return steps
}

// hasContent has the codes of findings for which the region's bytes would tell more.
var hasContent = map[string]bool{
	"flash-changed": true, "flash-differs": true, "flash-outlier": true, "flash-geometry": true, "flash-excluded": true, "excluded-grew": true,
	"denied": true, "rollback": true,
}

// stepsFor says what to do about a device as a whole.
func stepsFor(d *v1.Device) []step {
	id := clipID(d.ID)
	switch d.State {
	case result.Stale:
		return []step{
			{"check that the device and its agent run and reach the verifier", "probity events --device " + id},
			{"when it is back, ask for evidence", fmt.Sprintf("probity device attest %s --wait", id)},
		}
	case result.NeverAttested:
		if d.Status == "pending" {
			return []step{{"let it in, if you know it", "probity device approve " + id}}
		}
		return []step{{"see what came of its evidence", "probity events --device " + id}}
	case result.Untrusted, result.Warning:
		return []step{
			{"see what happened before", "probity events --device " + id},
			{"after something was mended, ask for new evidence", fmt.Sprintf("probity device attest %s --wait", id)},
		}
	}
	return []step{}
}

// fileName makes a file's name of a region's, which the device chose.
func fileName(region string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, region)
	return strings.TrimLeft(clip(name, 40), "-") + ".bin"
}

// shellQuote makes one word for a POSIX shell of a text that a device chose.
func shellQuote(s string) string {
	plain := s != "" && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@/") == ""
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
