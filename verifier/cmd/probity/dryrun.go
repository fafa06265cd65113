package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/manifest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func (a *app) manifestDryRun() *cobra.Command {
	return &cobra.Command{
		Use: "dry-run FILE", Short: "Say, by all stored evidence of the fleet, what a manifest would change; nothing is switched", Args: need("FILE"),
		Long: `Say, by all stored evidence of the fleet, what a manifest would change. Nothing is switched.

Every device of the model is appraised again by its newest evidence: as references are now, with the manifest beside them
(the overlap), and with the manifest in the place of those that it supersedes. The manifest may be signed or not. The exit
code is 3 if a device that would be trusted now would not be so afterwards.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			document, err := a.readFile(args[0], manifest.MaxSize)
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return a.dryRunOf(cmd.Context(), c, document)
		},
	}
}

// dryRunOf says what a manifest would change.
func (a *app) dryRunOf(ctx context.Context, c *client, document []byte) error {
	var job v1.Job
	if err := c.upload(ctx, "/v1/dry-runs", nil, nil, document, &job); err != nil {
		return err
	}
	var d v1.DryRun
	err := a.awaitJob(ctx, "devices", func() (p v1.JobProgress, err error) {
		d, err = fetch[v1.DryRun](ctx, c, "/v1/dry-runs/"+url.PathEscape(job.ID), nil)
		return d.JobProgress, err
	})
	if err != nil {
		return err
	}
	for _, n := range d.Notes {
		a.say("note: %s", n)
	}
	if err := a.print(d, func(w io.Writer) error { return a.writeDryRun(w, &d) }); err != nil {
		return err
	}
	if fails(&d) {
		return &exit{code: exitNotTrusted}
	}
	return nil
}

// awaitJob asks how far long work is until it is over, and shows that on a terminal.
func (a *app) awaitJob(ctx context.Context, what string, ask func() (v1.JobProgress, error)) error {
	m := a.meter()
	defer m.end()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		p, err := ask()
		switch {
		case err != nil:
			return err
		case p.Failed != "":
			return fmt.Errorf("the verifier could not finish: %s", safe(p.Failed))
		case p.Over:
			return nil
		}
		m.of(p.Done, p.Total, what)
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// fails reports whether the manifest would cost a device the trust that it has, as far as devices are listed.
func fails(d *v1.DryRun) bool {
	for _, c := range d.Changes {
		if c.Now == result.Trusted && c.After != result.Trusted {
			return true
		}
	}
	return d.After[result.Trusted] < d.Now[result.Trusted]
}

func (a *app) writeDryRun(w io.Writer, d *v1.DryRun) error {
	t := a.table("STATE", "NOW", "OVERLAP", "AFTER")
	for _, s := range []result.State{result.Trusted, result.Warning, result.Untrusted, result.Unsupported} {
		t.rows = append(t.rows, []cell{
			{string(s), stateColour(s)},
			{text: strconv.Itoa(d.Now[s])},
			{text: strconv.Itoa(d.Overlap[s])},
			{text: strconv.Itoa(d.After[s])},
		})
	}
	if err := t.write(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d devices appraised, %d cannot be; it would supersede: %s\n", d.Devices, d.Unjudged, safe(cmp.Or(strings.Join(d.Supersedes, ", "), "nothing")))
	if len(d.Changes) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t = a.table("DEVICE", "LABEL", "NOW", "OVERLAP", "AFTER", "WHAT CHANGES")
	t.width = textWidth
	for i := range d.Changes {
		c := &d.Changes[i]
		t.rows = append(t.rows, []cell{
			{text: clipID(c.ID)},
			{text: c.Label},
			{string(c.Now), stateColour(c.Now)},
			{string(c.Overlap), stateColour(c.Overlap)},
			{string(c.After), stateColour(c.After)},
			{text: whatChanges(c)},
		})
	}
	if err := t.write(w); err != nil {
		return err
	}
	if d.Left > 0 {
		fmt.Fprintf(w, "and %d more\n", d.Left)
	}
	return nil
}

func whatChanges(c *v1.DryRunDevice) string {
	if c.Problem != "" {
		return "cannot be judged: " + c.Problem
	}
	var parts []string
	add := func(sign string, list []result.Finding) {
		for i, f := range list {
			if i == shownFindings {
				parts = append(parts, fmt.Sprintf("%s%d more", sign, len(list)-i))
				return
			}
			parts = append(parts, sign+f.Code+" "+f.Component)
		}
	}
	add("+", c.Came)
	add("-", c.Went)
	return strings.Join(parts, "; ")
}
