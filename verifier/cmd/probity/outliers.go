package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) outliersCommand() *cobra.Command {
	var in v1.NewOutliers
	cmd := &cobra.Command{
		Use: "outliers", Short: "Find devices that differ from others of their model and version, whatever references say", Args: need(),
		Long: `Find devices that differ from others of their vendor, model and firmware version, component by component: boot events, flash
regions and files. What a vendor's manifest covers counts too: an implant in a few devices shows even if it was signed.

A component is an outlier where at least two thirds of the devices have the same and at most one in ten (or one alone)
something else. What differs between most devices, such as serial numbers, tells nothing. The exit code is 3 if there is an
outlier that no reference knows.`,
	}
	cmd.Flags().StringVar(&in.Vendor, "vendor", "", "only devices of this vendor")
	cmd.Flags().StringVar(&in.Model, "model", "", "only devices of this model")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
		var job v1.Job
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/outliers", nil, in, &job); err != nil {
			return err
		}
		var found v1.Outliers
		err := a.awaitJob(cmd.Context(), "devices", func() (p v1.JobProgress, err error) {
			found, err = fetch[v1.Outliers](cmd.Context(), c, "/v1/outliers/"+url.PathEscape(job.ID), nil)
			return found.JobProgress, err
		})
		if err != nil {
			return err
		}
		if err := a.print(found, func(w io.Writer) error { return a.writeOutliers(w, &found) }); err != nil {
			return err
		}
		for _, g := range found.Groups {
			for _, o := range g.Outliers {
				if !o.Covered {
					return &exit{code: exitNotTrusted}
				}
			}
		}
		return nil
	})
	return cmd
}

func (a *app) writeOutliers(w io.Writer, found *v1.Outliers) error {
	if len(found.Groups) == 0 {
		a.say("no device has evidence to compare")
	}
	for i := range found.Groups {
		g := &found.Groups[i]
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s: %d devices, %d outliers\n", safe(g.Vendor+" "+g.Model+" "+g.Firmware), g.Devices, len(g.Outliers)+g.Left)
		for _, n := range g.Notes {
			fmt.Fprintf(w, "  note: %s\n", safe(n))
		}
		if len(g.Outliers) == 0 {
			continue
		}
		t := a.table("COMPONENT", "EXPECTED", "OBSERVED", "DEVICES", "WHICH", "WHY")
		for _, o := range g.Outliers {
			t.add(clip(o.Component, textWidth), clipDigest(o.Expected), clipDigest(o.Observed), strconv.Itoa(o.Count)+" of "+strconv.Itoa(o.Of),
				which(&o), o.Meaning)
		}
		if err := t.write(w); err != nil {
			return err
		}
	}
	return nil
}

// which names the first devices of an outlier.
func which(o *v1.Outlier) string {
	s := ""
	for i, d := range o.Devices {
		if i == shownFindings {
			return s + fmt.Sprintf(" and %d more", o.Count-i)
		}
		if i > 0 {
			s += ", "
		}
		if d.Label != "" {
			s += d.Label
		} else {
			s += clipID(d.ID)
		}
	}
	return s
}
