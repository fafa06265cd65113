package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// shownResults is how many of a device's newest results are shown.
const shownResults = 5

// deviceDocument is what "device show" writes as JSON and YAML.
type deviceDocument struct {
	v1.Device
	Reason  string      `json:"reason"` // the state in one sentence
	Results []v1.Result `json:"results"`
}

func (a *app) deviceShow() *cobra.Command {
	return &cobra.Command{
		Use: "show DEVICE", Short: "Show a device: verdict and why, identity, findings, freshness, PCRs",
		Long: `Show a device: verdict and why, identity, findings, freshness, PCRs. DEVICE is its label, or its id or the first
characters of it (at least 4). The exit code tells the state: see probity --help.`,
		Args: need("DEVICE"),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			d, err := c.deviceWithResults(cmd.Context(), args[0], shownResults)
			if err != nil {
				return unknownDevice(err)
			}
			return a.showDevice(d)
		}),
	}
}

// deviceWithResults asks for a device and its newest results.
func (c *client) deviceWithResults(ctx context.Context, name string, most int) (d deviceDocument, err error) {
	if d.Device, err = fetch[v1.Device](ctx, c, devicePath(name), nil); err != nil {
		return d, err
	}
	d.Results, err = c.results(ctx, d.ID, most)
	return d, err
}

// results asks for the newest results of a device, newest first.
func (c *client) results(ctx context.Context, id string, most int) ([]v1.Result, error) {
	list, err := fetch[v1.Results](ctx, c, devicePath(id, "results"), url.Values{"limit": {strconv.Itoa(most)}})
	return list.Results, err
}

// unknownDevice gives the error for a device that is not known the exit code for it.
func unknownDevice(err error) error {
	if isMissing(err) {
		return &exit{exitUnknown, err}
	}
	return err
}

// showDevice writes a device and returns its verdict as an error.
func (a *app) showDevice(d deviceDocument) error {
	d.Reason = reason(d)
	if err := a.print(d, func(w io.Writer) error { return a.writeDevice(w, d) }); err != nil {
		return err
	}
	return verdict(d.State)
}

func newest(d deviceDocument) *v1.Result {
	if len(d.Results) == 0 {
		return nil
	}
	return &d.Results[0]
}

// reason says in one sentence why the state is what it is.
func reason(d deviceDocument) string {
	r := newest(d)
	switch d.State {
	case result.Stale:
		return fmt.Sprintf("silent since %s; the last verdict was %s", ago(d.LastSeen), d.Verdict)
	case result.NeverAttested:
		switch d.Status {
		case "pending":
			return "waits to be let in: probity device approve " + clipID(d.ID)
		case "approved":
			return "approved, never seen"
		}
		return "enrolled, no evidence accepted yet"
	case result.Trusted:
		if r != nil && len(r.References) > 0 {
			return "everything appraised matches " + strings.Join(r.References, ", ")
		}
		return "everything appraised matches the reference values"
	}
	if r == nil || len(r.Findings) == 0 {
		return "the newest result gives no reason"
	}
	s := r.Findings[0].Component + ": " + r.Findings[0].Meaning
	if n := len(r.Findings) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

func (a *app) writeDevice(w io.Writer, d deviceDocument) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s\n", a.paint(strings.ToUpper(safe(string(d.State))), stateColour(d.State)), safe(named(d.Device)))
	fmt.Fprintf(&b, "%s\n", safe(d.Reason))
	fmt.Fprintf(&b, "identity level: %s\n", levelMeaning(d.Level))
	r := newest(d)
	if r != nil {
		a.writeFindings(&b, r.Findings)
	}
	section(&b, "Identity", identityLines(d.Device))
	section(&b, "Freshness", freshnessLines(d.Device, r))
	if r != nil {
		if lines := strengthLines(&r.Result); len(lines) > 0 {
			section(&b, "Strength of the evidence", lines)
		}
		if err := a.writeRegions(&b, &r.Result); err != nil {
			return err
		}
		if err := a.writePCRs(&b, r.Bank, r.PCRs); err != nil {
			return err
		}
	}
	if err := a.writeResults(&b, d.Results); err != nil {
		return err
	}
	_, err := b.WriteTo(w)
	return err
}

func levelMeaning(l result.Level) string {
	switch l {
	case result.Certified:
		return "certified: the TPM's maker vouches for it"
	case result.Pinned:
		return "pinned: an operator approved this TPM"
	case result.FirstUse:
		return "first-use: this TPM was trusted when it was first seen"
	case result.Software:
		return "software: no TPM, a key on disk; never better than warning"
	case "":
		return "none yet"
	}
	return safe(string(l))
}

func (a *app) writeFindings(b *bytes.Buffer, findings []result.Finding) {
	fmt.Fprintf(b, "\nFindings: %d\n", len(findings))
	for i, f := range findings {
		fmt.Fprintf(b, "%2d. %s  %s  %s\n", i+1, a.paint(safe(string(f.Severity)), severityColour(f.Severity)),
			safe(f.Code), safe(string(f.Submod)))
		writeLines(b, 4, []line{
			{"component", f.Component},
			{"expected", f.Expected},
			{"observed", f.Observed},
			{"nearest", f.Nearest},
			{"meaning", f.Meaning},
			{"action", f.Action},
			{"first seen", stamp(&f.FirstSeen)},
			{"waived", waived(f.Waiver)},
		})
	}
}

// line is a named value. Lines without a value are not shown.
type line struct{ name, value string }

func section(b *bytes.Buffer, title string, lines []line) {
	fmt.Fprintf(b, "\n%s\n", title)
	writeLines(b, 2, lines)
}

// lineText returns lines as text.
func lineText(lines []line) string {
	var b bytes.Buffer
	writeLines(&b, 0, lines)
	return b.String()
}

func writeLines(b *bytes.Buffer, indent int, lines []line) {
	width := 0
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(safe(l.name)))
	}
	for _, l := range lines {
		if l.value != "" {
			fmt.Fprintf(b, "%*s%-*s  %s\n", indent, "", width, safe(l.name), safe(l.value))
		}
	}
}

func identityLines(d v1.Device) []line {
	return []line{
		{"id", d.ID},
		{"label", d.Label},
		{"group", d.Group},
		{"labels", labelList(d.Labels)},
		{"status", d.Status},
		{"endorsed by", d.EKIssuer},
		{"vendor", selfAsserted(d.Vendor)},
		{"model", selfAsserted(d.Model)},
		{"firmware", selfAsserted(d.Firmware)},
		{"agent", selfAsserted(d.Agent)},
		{"certificate", certificate(d)},
		{"enrolled", stamp(d.EnrolledAt)},
	}
}

func certificate(d v1.Device) string {
	if d.CertificateSerial == "" {
		return ""
	}
	return d.CertificateSerial + ", expires " + stamp(d.CertificateExpires)
}

func selfAsserted(s string) string {
	if s == "" {
		return ""
	}
	return s + " (self-asserted)"
}

func freshnessLines(d v1.Device, r *v1.Result) []line {
	lines := []line{
		{"last seen", withAge(d.LastSeen)},
		{"stale at", withAge(d.StaleAt)},
		{string(d.Verdict) + " since", stamp(d.Since)},
	}
	if r != nil {
		lines = append(lines,
			line{"boot", r.BootID},
			line{"resets", fmt.Sprintf("%d, restarts %d", r.Resets, r.Restarts)},
			line{"IMA entries", strconv.FormatUint(r.IMAEntries, 10)},
		)
	}
	return lines
}

func (a *app) writeResults(w io.Writer, results []v1.Result) error {
	if len(results) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	t := a.table("RESULT", "AT", "STATE", "FINDINGS", "EVIDENCE")
	for _, r := range results {
		t.rows = append(t.rows, []cell{
			{text: strconv.FormatInt(r.Seq, 10)},
			{text: stamp(&r.At)},
			{text: string(r.State), colour: stateColour(r.State)},
			{text: strconv.Itoa(len(r.Findings))},
			{text: clipDigest(r.Evidence)},
		})
	}
	return t.write(w)
}

// stamp returns a time for people, empty for never.
func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func withAge(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return stamp(t) + " (" + ago(t) + ")"
}

// ago returns how long ago a time was, or in how long it will be.
func ago(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	d := time.Since(*t)
	if d < 0 {
		return "in " + roughly(-d)
	}
	return roughly(d) + " ago"
}

func roughly(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= 2*unit.size {
			return fmt.Sprintf("%d %s", d/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
