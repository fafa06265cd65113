package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/pcr"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) baselineCommand() *cobra.Command {
	return group("baseline", "Reference values taken from a device that is as it should be",
		a.writes(a.baselineCreate()), a.reads(a.baselineList()), a.writes(a.baselineRetire()))
}

func (a *app) baselineCreate() *cobra.Command {
	var in v1.NewBaseline
	cmd := &cobra.Command{
		Use:   "create --device DEVICE",
		Short: "Make what a device last attested the reference for it and its like",
		Args:  need(),
	}
	cmd.Flags().StringVar(&in.Device, "device", "", "device to take the values of: label, or id or its start")
	cmd.Flags().StringVar(&in.Name, "name", "", "name of the baseline (default: chosen by the verifier)")
	_ = cmd.RegisterFlagCompletionFunc("device", a.completeDevices)
	var reportOnly string
	cmd.Flags().StringVar(&reportOnly, "report-only-pcr", "1,5",
		"`PCRS` whose change is reported but does not change the verdict, such as 1,5 or none")
	cmd.Flags().StringArrayVar(&in.ReportOnlyFlash, "report-only-flash", nil,
		"`NAME` of a flash region whose change is reported but does not change the verdict; may be given several times")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if in.Device == "" {
			return usagef(cmd, "--device is missing")
		}
		var err error
		if in.ReportOnly, err = parsePCRs(reportOnly); err != nil {
			return usagef(cmd, "--report-only-pcr: %v", err)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var b v1.Baseline
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/baselines", nil, in, &b); err != nil {
			return err
		}
		a.say("created baseline %s", b.Name)
		for _, note := range b.Notes {
			a.say("note: %s", note)
		}
		return a.print(b, func(w io.Writer) error { return a.writeBaselines(w, []v1.Baseline{b}) })
	}
	return cmd
}

// parsePCRs reads "1,5" or "none".
func parsePCRs(s string) ([]int, error) {
	out := []int{}
	if s == "none" {
		return out, nil
	}
	for _, part := range strings.Split(s, ",") {
		i, err := strconv.Atoi(part)
		if err != nil || i < 0 || i >= pcr.Count {
			return nil, fmt.Errorf("%q: want PCRs from 0 to %d, such as 1,5, or none", s, pcr.Count-1)
		}
		out = append(out, i)
	}
	return out, nil
}

func (a *app) baselineList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List baselines, retired ones included", Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/baselines", nil, func(w io.Writer, list *v1.Baselines) error {
				return a.writeBaselines(w, list.Baselines)
			})
		},
	}
}

func (a *app) baselineRetire() *cobra.Command {
	return &cobra.Command{
		Use: "retire NAME", Short: "Take a baseline out of force", Args: need("NAME"),
		ValidArgsFunction: first(a.completeBaselines),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			if err := c.call(cmd.Context(), http.MethodDelete, "/v1/baselines/"+url.PathEscape(args[0]), nil, nil, nil); err != nil {
				return missing(err, "baseline", args[0], "baseline list")
			}
			a.say("retired baseline %s", args[0])
			return nil
		}),
	}
}

func (a *app) writeBaselines(w io.Writer, list []v1.Baseline) error {
	t := a.table("NAME", "KIND", "CREATED", "RETIRED", "SIZE", "DIGEST")
	t.width = textWidth
	for _, b := range list {
		t.add(b.Name, b.Kind, stamp(&b.Created), stamp(b.Retired), strconv.Itoa(b.Size), clipDigest(b.Digest))
	}
	return t.write(w)
}
