package inspect

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

// Diff tells how two reports differ, part by part, whatever reference values say. Left and Right of the answer are the
// caller's to complete. PCR 10 is left out: it is never the same twice.
func Diff(left, right *Evidence) v1.Diff {
	out := v1.Diff{Parts: []v1.DiffPart{}}
	for _, part := range []struct {
		name string
		of   func(*Evidence) map[string]string
	}{
		{"platform", platformOf}, {"pcrs", valuesOf}, {"boot", eventsOf}, {"files", pathsOf}, {"flash", regionsOf}, {"findings", findingsOf},
	} {
		same, p := compare(part.name, part.of(left), part.of(right))
		out.Same += same
		if len(p.Lines) > 0 {
			out.Parts = append(out.Parts, p)
		}
	}
	return out
}

// compare returns how many things two maps agree on, and where they differ, in natural order.
func compare(name string, left, right map[string]string) (same int, out v1.DiffPart) {
	out.Part = name
	keys := slices.Collect(maps.Keys(left))
	for k := range right {
		if _, ok := left[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, natural)
	for _, k := range keys {
		l, r := left[k], right[k]
		switch {
		case l == r:
			same++
		case len(out.Lines) == maxLines:
			out.Left++
		default:
			out.Lines = append(out.Lines, v1.DiffLine{What: k, Left: l, Right: r})
		}
	}
	return same, out
}

// natural compares texts so that PCR 2 comes before PCR 10.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, restA := number(a)
		y, restB := number(b)
		if x >= 0 && y >= 0 {
			if x != y {
				return x - y
			}
			a, b = restA, restB
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

// number splits a number of at most nine digits off a text, -1 where there is none.
func number(s string) (n int, rest string) {
	i := 0
	for i < len(s) && i < 9 && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	if i == 0 {
		return -1, s
	}
	n, _ = strconv.Atoi(s[:i]) // at most nine digits
	return n, s[i:]
}

// put notes a value of a thing of which there may be several.
func put(into map[string][]string, name, value string) { into[name] = append(into[name], value) }

// joined makes one value of several of a thing. Of many, each is a thing of its own: which of them changed into which
// nobody knows.
func joined(all map[string][]string) map[string]string {
	out := make(map[string]string, len(all))
	for name, list := range all {
		slices.Sort(list)
		if list = slices.Compact(list); len(list) <= maxTogether {
			out[name] = strings.Join(list, " ")
			continue
		}
		for _, v := range list {
			out[name+" "+short(v)] = v
		}
	}
	return out
}

func platformOf(e *Evidence) map[string]string {
	out := map[string]string{"agent": appraise.Printable(e.Claims.Agent), "identity level": string(e.Result.Level)}
	p := e.Platform
	if p == nil {
		return out
	}
	for name, value := range map[string]string{
		"vendor": p.Vendor, "model": p.Model, "board": p.Board, "firmware vendor": p.FirmwareVendor, "firmware version": p.FirmwareVersion,
		"firmware date": p.FirmwareDate, "architecture": p.Architecture, "kernel": p.Kernel, "command line": p.CommandLine,
		"operating system": p.OS, "Secure Boot": p.SecureBoot,
	} {
		if value != "" {
			out[name] = appraise.Printable(value)
		}
	}
	for _, f := range p.Firmware {
		out["firmware of "+appraise.Printable(f.Class)] = fmt.Sprint(f.Version)
	}
	for name, why := range p.Unavailable {
		out[appraise.Printable(name)+" (not readable)"] = appraise.Printable(why)
	}
	for _, d := range p.Devices {
		out["hardware "+appraise.Printable(d.Bus+" "+d.Address)] = appraise.Printable(d.Name)
	}
	return out
}

func valuesOf(e *Evidence) map[string]string {
	out := make(map[string]string)
	for name, value := range e.Result.PCRs {
		if i, err := strconv.Atoi(name); err == nil && i != ima.PCR {
			out[appraise.PCRName(i)] = e.Result.Bank + ":" + value
		}
	}
	return out
}

func eventsOf(e *Evidence) map[string]string {
	log, err := eventlog.Parse(e.BootLog)
	if len(e.BootLog) == 0 || err != nil {
		return nil
	}
	bank, err := pcr.ParseAlgorithm(e.Result.Bank)
	if err != nil {
		return nil
	}
	all := make(map[string][]string)
	for i := range log.Events {
		ev := &log.Events[i]
		if d := ev.Digest(bank); ev.Extends() && d != nil {
			put(all, fmt.Sprintf("PCR %d, %s", ev.PCR, ev.Slot()), hex.EncodeToString(d))
		}
	}
	return joined(all)
}

func pathsOf(e *Evidence) map[string]string {
	all := make(map[string][]string)
	for s := ima.NewScanner(e.IMA); s.Scan(); {
		entry := s.Entry()
		f, ok := entry.File()
		if !ok || f.Path == ima.BootAggregatePath {
			continue
		}
		value := f.Algorithm + ":" + hex.EncodeToString(f.Digest)
		if entry.Violation() {
			value = "violation"
		}
		put(all, appraise.Printable(f.Path), appraise.Printable(value))
	}
	return joined(all)
}

func regionsOf(e *Evidence) map[string]string {
	if e.Flash == nil {
		return nil
	}
	out := make(map[string]string)
	for i := range e.Flash.Regions {
		r := &e.Flash.Regions[i]
		name := appraise.Printable(r.Name)
		if r.Unavailable != nil {
			out[name] = appraise.Printable("unreadable: " + r.Unavailable.Error())
			continue
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "sha256:%x, %d bytes at %#x of %s", r.Digest, r.Length, r.Offset, appraise.Printable(r.Source))
		for _, x := range r.Excluded {
			fmt.Fprintf(&b, ", without %d at %#x", x.Length, r.Offset+x.Offset) // both as on the chip
		}
		out[name] = clip(b.String(), maxText)
	}
	return out
}

func findingsOf(e *Evidence) map[string]string {
	all := make(map[string][]string)
	for i := range e.Result.Findings {
		f := &e.Result.Findings[i]
		if f.Severity == result.Info {
			continue
		}
		value := string(f.Severity) + ": " + f.Meaning
		if f.Observed != "" {
			value += "; observed " + f.Observed
		}
		put(all, f.Code+", "+f.Component, clip(value, maxText))
	}
	return joined(all)
}
