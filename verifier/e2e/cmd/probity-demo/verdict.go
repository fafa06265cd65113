package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/probity-attest/probity/verifier/result"
)

// verdict is what the command line says of a device.
type verdict struct {
	State    result.State `json:"state"`
	Reason   string       `json:"reason"`
	Firmware string       `json:"firmware"`
	Results  []struct {
		State    result.State     `json:"state"`
		Findings []result.Finding `json:"findings"`
	} `json:"results"`
}

// errUnknown is the demo's word for a device that has not enrolled yet.
var errUnknown = errors.New("not enrolled yet")

func (d *demo) verdict(ctx context.Context, id string) (verdict, error) {
	var v verdict
	err := d.cli(ctx, &v, "device", "show", id)
	if err != nil && strings.Contains(err.Error(), "exit status 5") { // not known
		return verdict{State: result.NeverAttested, Reason: errUnknown.Error()}, nil
	}
	return v, err
}

func (v verdict) attested() bool { return v.State != result.NeverAttested && v.State != "" }

// worst returns the most important finding of the newest result.
func (v verdict) worst() (result.Finding, bool) {
	if v.State == result.Stale || len(v.Results) == 0 || len(v.Results[0].Findings) == 0 {
		return result.Finding{}, false
	}
	f := v.Results[0].Findings[0]
	return f, f.Severity != result.Info
}

// asExpected reports whether state and cause are those of the role.
func (dev *device) asExpected() bool {
	if dev.got.State != dev.want {
		return false
	}
	f, found := dev.got.worst()
	return dev.code == "" || dev.silent || found && f.Code == dev.code
}

// table prints all verdicts; the bad ones say in one line what is wrong.
func (d *demo) table() {
	fmt.Fprintln(d.out)
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  \tDEVICE\tWHAT IT IS\tVERDICT\tEXPECTED\tID")
	for _, dev := range d.devices {
		mark := "ok"
		if !dev.asExpected() {
			mark = ".."
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%.12s\n", mark, dev.name, dev.story, dev.got.State, dev.want, dev.id)
	}
	_ = w.Flush()
	fmt.Fprintln(d.out)
	for _, dev := range d.devices {
		switch f, found := dev.got.worst(); {
		case found:
			fmt.Fprintf(d.out, "  %s: %s\n", dev.name, shorten(f).Line())
		case dev.got.State == result.Stale:
			fmt.Fprintf(d.out, "  %s: %s\n", dev.name, dev.got.Reason)
		}
	}
	fmt.Fprintln(d.out)
}

// shorten keeps digests readable in one line.
func shorten(f result.Finding) result.Finding {
	clip := func(s string) string {
		digest, rest, _ := strings.Cut(s, " ")
		if len(digest) == 64 {
			digest = digest[:12] + "..."
		}
		return strings.TrimSpace(digest + " " + rest)
	}
	f.Expected, f.Observed = clip(f.Expected), clip(f.Observed)
	return f
}

// explain shows, of one bad device, what the operator reads.
func (d *demo) explain(ctx context.Context) error {
	for _, dev := range d.devices {
		f, found := dev.got.worst()
		if dev.code != "boot-event-changed" || !found {
			continue
		}
		fmt.Fprintf(d.out, "What the operator reads of %q (probity device show %s):\n\n  component  %s\n  meaning    %s\n  expected   %s\n  observed   %s\n  action     %s\n",
			dev.name, dev.name, f.Component, f.Meaning, f.Expected, f.Observed, f.Action)
	}
	return ctx.Err()
}
