package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// writeExplanation writes an explanation for people.
func (a *app) writeExplanation(w io.Writer, e *explanation) error {
	width := a.runningWidth()
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", a.paint(strings.ToUpper(safe(string(e.Device.State))), stateColour(e.Device.State)), safe(named(e.Device)))
	writeWrapped(&b, 0, 0, "", e.Reason, width)
	a.explainFindings(&b, e, width)
	if len(e.Next) > 0 {
		b.WriteString("\nThe device as a whole\n")
		writeSteps(&b, 2, e.Next, width)
	}
	b.WriteString("\nNot checked\n")
	if len(e.Gaps) == 0 {
		b.WriteString("  nothing is known to be missing\n")
	}
	for _, g := range e.Gaps {
		writeWrapped(&b, 2, 1, "-", g.What+": "+g.Why, width)
	}
	if len(e.Parts) > 0 {
		b.WriteString("\nWhat each part rests on\n")
		for _, p := range e.Parts {
			text := p.Strength.Meaning()
			if p.Strength == "" {
				text = "not said"
			}
			writeWrapped(&b, 2, 8, string(p.Part), statusMeaning(p.Status)+"; "+text, width)
		}
	}
	b.WriteString("\nFreshness\n")
	for _, l := range e.Freshness.lines() {
		writeWrapped(&b, 2, 9, l.name, l.value, width)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// statusMeaning says an AR4SI tier in words.
func statusMeaning(tier string) string {
	switch tier {
	case "none":
		return "no verdict"
	case "affirming":
		return "as it should be"
	case "warning":
		return "warning"
	case "contraindicated":
		return "not to be trusted"
	}
	return tier
}

func (a *app) explainFindings(b *strings.Builder, e *explanation, width int) {
	if len(e.Findings) == 0 {
		b.WriteString("\nNothing was found.\n")
		return
	}
	for i := range e.Findings {
		f := &e.Findings[i]
		fmt.Fprintf(b, "\n%d. %s  %s\n", i+1, a.paint(safe(string(f.Severity)), severityColour(f.Severity)), safe(f.Code))
		writeWrapped(b, 3, 0, "", f.Words, width)
		for _, l := range []line{
			{"where", f.Where.describe()},
			{"expected", f.Expected},
			{"observed", f.Observed},
			{"nearest", f.Nearest},
			{"since", since(f.FirstSeen)},
			{"others", f.others()},
			{"waived", waived(f.Waiver)},
		} {
			writeWrapped(b, 3, 8, l.name, l.value, width)
		}
		writeSteps(b, 3, f.Steps, width)
	}
}

// writeSteps writes what to do. Commands stand on lines of their own and are never broken: people copy them.
func writeSteps(b *strings.Builder, indent int, steps []step, width int) {
	for _, s := range steps {
		text := s.Do
		if s.Command != "" {
			text += ":"
		}
		writeWrapped(b, indent, 1, ">", text, width)
		if s.Command != "" {
			b.WriteString(strings.Repeat(" ", indent+5) + safe(s.Command) + "\n")
		}
	}
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(&t) + " (" + ago(&t) + ")"
}

// others says on how many other devices the same is found.
func (f *explained) others() string {
	switch {
	case f.Others == nil:
		return ""
	case *f.Others == 0:
		return "no other device shows this now"
	}
	ids := make([]string, len(f.OtherDevices))
	for i, id := range f.OtherDevices {
		ids[i] = clipID(id)
	}
	text := "1 other device shows this now"
	if *f.Others > 1 {
		text = fmt.Sprintf("%d other devices show this now", *f.Others)
	}
	if f.More {
		text = "more than " + text
	}
	if *f.Others > len(ids) {
		return text + ", such as " + strings.Join(ids, ", ")
	}
	return text + ": " + strings.Join(ids, ", ")
}

func waived(w *result.Waiver) string {
	if w == nil {
		return ""
	}
	return fmt.Sprintf("by %s until %s, %s otherwise: %s", w.Owner, stamp(&w.Expires), w.Was, w.Reason)
}

func (f freshness) lines() []line {
	lines := []line{{"last seen", withAge(f.LastSeen)}, {"stale at", withAge(f.StaleAt)}}
	if f.Asked != nil {
		lines = append(lines, line{"evidence", "made after " + stamp(f.Asked) + ", when it was asked for"})
	}
	if f.FlashAge > 0 {
		lines = append(lines, line{"flash", "read up to " + roughly(time.Duration(f.FlashAge)*time.Second) + " before the report"})
	}
	if f.BootID != "" {
		lines = append(lines, line{"boot", fmt.Sprintf("%s, TPM resets: %d", f.BootID, f.Resets)})
	}
	return lines
}
