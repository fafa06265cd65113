package inspect

import (
	"fmt"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// Kinds of points of a timeline.
const (
	pointResult   = "result"
	pointReboot   = "reboot"
	pointFirmware = "firmware"
	pointEvent    = "event"
)

// Past is a result with its number.
type Past struct {
	Seq    int64
	Result *result.Result
}

// Timeline turns results, newest first, into points, newest first: one for each run of results of one boot that say the
// same, and one before it where the device rebooted or its firmware changed. before is the result before the last one
// of the list, nil where there is none. It stops after limit points; next is the number of the last result that was
// told, 0 after all of the list.
func Timeline(list []Past, before *Past, limit int) (points []v1.TimelinePoint, next int64) {
	for i := 0; i < len(list); {
		if len(points) >= limit {
			return points, list[i-1].Seq
		}
		end := i + 1
		for end < len(list) && continues(list[end].Result, list[i].Result) {
			end++
		}
		points = append(points, run(list[i:end]))
		older := before
		if end < len(list) {
			older = &list[end]
		}
		if older != nil {
			points = append(points, between(older.Result, list[end-1].Result)...)
		}
		i = end
	}
	return points, 0
}

// continues reports whether a result says of the same boot what the one before it said.
func continues(was, is *result.Result) bool {
	return was.State == is.State && was.BootID == is.BootID && firmwareOf(was) == firmwareOf(is) && says(was) == says(is)
}

// says is what weighs in a result.
func says(r *result.Result) string {
	var b strings.Builder
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Severity != result.Info {
			fmt.Fprintf(&b, "%d:%s%d:%s%d:%s%s", len(f.Code), f.Code, len(f.Component), f.Component, len(f.Observed), f.Observed, f.Severity)
		}
	}
	return b.String()
}

// firmwareOf names the firmware that booted: what the TPM says of it, and the reference values that it fits.
func firmwareOf(r *result.Result) string {
	return r.PCRs["0"] + "\x00" + strings.Join(r.References, "\x00")
}

// run is the point of results that say the same, newest first.
func run(list []Past) v1.TimelinePoint {
	first, last := list[len(list)-1], list[0]
	out := v1.TimelinePoint{
		At: first.Result.At.UTC(), Kind: pointResult, State: first.Result.State, Text: summary(first.Result), Count: len(list),
		Result: first.Seq,
	}
	if len(list) > 1 {
		until := last.Result.At.UTC()
		out.Until = &until
	}
	return out
}

// summary says what a result found.
func summary(r *result.Result) string {
	var why []string
	more := 0
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.Severity == result.Info:
		case len(why) == maxWhy:
			more++
		default:
			s := f.Component + ": " + f.Meaning
			if f.Nearest != "" {
				s += " (known from " + f.Nearest + ")"
			}
			why = append(why, clip(s, maxText))
		}
	}
	if more > 0 {
		why = append(why, fmt.Sprintf("%d more findings", more))
	}
	switch {
	case len(why) > 0:
		return strings.Join(why, "; ")
	case r.State == result.Unsupported:
		return "there are no reference values to compare it with"
	case len(r.References) > 0:
		return "all that counts is as " + strings.Join(r.References, ", ") + " says"
	}
	return "nothing weighs against it"
}

// between tells what happened before is came and after was did.
func between(was, is *result.Result) []v1.TimelinePoint {
	var out []v1.TimelinePoint
	point := func(kind, format string, args ...any) {
		out = append(out, v1.TimelinePoint{At: is.At.UTC(), Kind: kind, Text: fmt.Sprintf(format, args...)})
	}
	if a, b := strings.Join(was.References, ", "), strings.Join(is.References, ", "); a != b && a != "" && b != "" {
		point(pointFirmware, "compared with %s, before with %s", b, a)
	} else if a, b := was.PCRs["0"], is.PCRs["0"]; a != b && was.Bank == is.Bank && a != "" && b != "" {
		point(pointFirmware, "the firmware is another one: PCR 0 is %s, was %s", short(b), short(a))
	}
	if was.BootID != is.BootID {
		text := "rebooted"
		if n := int64(is.Resets) - int64(was.Resets); is.Bank != "" && n > 1 {
			text = fmt.Sprintf("rebooted, %d times since the report before", n)
		}
		point(pointReboot, "%s", text)
	}
	return out
}

// short shortens a digest for people.
func short(digest string) string {
	if len(digest) <= 16 {
		return digest
	}
	return digest[:16] + "..."
}

// Merge puts events among the points of a timeline; both come newest first. Changes of state are left out: the results
// tell them.
func Merge(points []v1.TimelinePoint, events []v1.Event) []v1.TimelinePoint {
	out := make([]v1.TimelinePoint, 0, len(points)+len(events))
	for _, e := range events {
		if e.Kind == "state-changed" {
			continue
		}
		for len(points) > 0 && !points[0].At.Before(e.At) {
			out, points = append(out, points[0]), points[1:]
		}
		text := e.Kind
		if e.Detail != "" {
			text += ": " + e.Detail
		}
		out = append(out, v1.TimelinePoint{At: e.At.UTC(), Kind: pointEvent, Text: text, Actor: e.Actor})
	}
	return append(out, points...)
}
