package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/shipment"
)

// finishManifest writes a manifest and tells what it is worth.
func (a *app) finishManifest(n *creation, m *manifest.Manifest, report *shipment.Report, b []byte) error {
	warnings := manifest.Lint(m)
	concerns := len(warnings)
	for i := range report.Logs {
		concerns += len(report.Logs[i].Differences) + report.Logs[i].More
	}
	failed := n.strict && concerns > 0
	if !failed {
		if err := a.writeOut(n.out, b, 0o644); err != nil {
			return err
		}
	}
	view := struct {
		ID       string             `json:"id"`
		File     string             `json:"file,omitempty"`
		Size     int                `json:"size"` // bytes
		Report   *shipment.Report   `json:"report"`
		Warnings []manifest.Warning `json:"warnings"`
	}{m.ID, n.out, len(b), report, append([]manifest.Warning{}, warnings...)}
	if failed {
		view.File = ""
	}
	out := *a
	if n.out == "-" {
		out.stdout = a.stderr // the manifest is the data
	}
	if err := out.print(view, func(w io.Writer) error { return a.writeReport(w, report, warnings) }); err != nil {
		return err
	}
	if failed {
		return &exit{exitError, fmt.Errorf("--strict: %d warnings and contradictions; nothing was written", concerns)}
	}
	if n.out != "-" {
		a.say("wrote %s: %q, %d bytes, not signed; next: probity manifest sign --key KEY %s", n.out, m.ID, len(b), n.out)
	}
	return nil
}

// writeReport writes what is known of PCRs, flash and files for people.
func (a *app) writeReport(w io.Writer, r *shipment.Report, warnings []manifest.Warning) error {
	for _, f := range []func() error{
		func() error { return a.writeCoverage(w, r) },
		func() error { return a.writeLogReports(w, r) },
		func() error { return a.writeRegionReports(w, r) },
		func() error { return writeFileReport(w, r.RootFS) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return a.writeWarnings(w, warnings)
}

func (a *app) writeCoverage(w io.Writer, r *shipment.Report) error {
	if len(r.PCRs) == 0 {
		return nil
	}
	if r.SecureBoot != "" {
		if _, err := fmt.Fprintf(w, "firmware: %s; Secure Boot: %s\n\n", cmpText(safe(r.Firmware), "", "not recognised"), r.SecureBoot); err != nil {
			return err
		}
	}
	t := a.table("PCR", "COVERAGE", "FROM", "EVENTS", "WHY")
	for _, p := range r.PCRs {
		colour := map[string]string{"complete": green, "partial": yellow, "none": yellow}[p.Coverage]
		t.rows = append(t.rows, []cell{
			{text: strconv.Itoa(p.Index)}, {p.Coverage, colour}, {text: p.Origin}, {text: strconv.Itoa(p.Events)}, {text: p.Why},
		})
	}
	return t.write(w)
}

func (a *app) writeLogReports(w io.Writer, r *shipment.Report) error {
	for i := range r.Logs {
		l := &r.Logs[i]
		how := "only parsed: no PCR values were given, so nothing shows that a machine booted it"
		if len(l.Verified) > 0 {
			how = "verified against the PCR values of " + strings.Join(l.Verified, ", ")
		}
		if _, err := fmt.Fprintf(w, "\nboot log %s: %s; %d events used\n", safe(l.Name), how, l.Used); err != nil {
			return err
		}
		for _, p := range l.Ignored {
			fmt.Fprintf(w, "  PCR %d is left out: its value is not given, or not what the log replays to, because something else extended it\n", p)
		}
		if len(l.Differences) == 0 {
			continue
		}
		t := a.table("PCR", "EVENT", "DIGEST", "CONTRADICTION")
		t.width = textWidth
		for _, d := range l.Differences {
			t.rows = append(t.rows, []cell{{text: strconv.Itoa(d.PCR)}, {text: d.Slot}, {text: brief(d.Digest)}, {d.Detail, red}})
		}
		if err := t.write(w); err != nil {
			return err
		}
		if l.More > 0 {
			fmt.Fprintf(w, "and %d more\n", l.More)
		}
	}
	return nil
}

func (a *app) writeRegionReports(w io.Writer, r *shipment.Report) error {
	if len(r.Regions) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	t := a.table("REGION", "LENGTH", "EXCLUDED", "NOTE")
	t.width = textWidth
	for _, x := range r.Regions {
		note := cell{x.Note, yellow}
		if x.Left != "" {
			note.text = "left out: " + x.Left
		}
		t.rows = append(t.rows, []cell{
			{text: x.Name}, {text: strconv.FormatUint(x.Length, 10)}, {text: strconv.FormatUint(x.Excluded, 10)}, note,
		})
	}
	return t.write(w)
}

func writeFileReport(w io.Writer, f *shipment.Files) error {
	if f == nil {
		return nil
	}
	merged := ""
	if f.Merged {
		merged = "; taken for a system whose /bin, /lib and /sbin are links into /usr (--usr-merge no: they are not)"
	}
	_, err := fmt.Fprintf(w, "\nfiles: %d listed; not listed: %d that are not run or mapped, %d in /dev, /proc, /run, /sys or /tmp, %d replaced%s\n",
		f.Listed, f.Other, f.LeftOut, f.Replaced, merged)
	return err
}
