package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) deviceTimeline() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "timeline DEVICE", Short: "Show results, reboots and what was done to a device, newest first", Args: need("DEVICE"),
	}
	limitFlag(cmd, &limit, 50, "most lines")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, args []string) error {
		all, err := c.timeline(cmd.Context(), args[0], limit)
		if err != nil {
			return err
		}
		return a.print(all, func(w io.Writer) error {
			t := a.table("AT", "UNTIL", "WHAT", "STATE", "TIMES", "BY", "TEXT", "RESULT")
			t.width = 80
			for _, p := range all.Points {
				times, number := "", ""
				if p.Count > 1 {
					times = grouped(p.Count)
				}
				if p.Result > 0 {
					number = strconv.FormatInt(p.Result, 10)
				}
				t.rows = append(t.rows, []cell{
					{text: stamp(&p.At)},
					{text: stamp(p.Until)},
					{text: p.Kind},
					{string(p.State), stateColour(p.State)},
					{text: times},
					{text: a.actor(p.Actor)},
					{text: p.Text},
					{text: number},
				})
			}
			return t.write(w)
		})
	})
	return cmd
}

// timeline collects pages up to limit.
func (c *client) timeline(ctx context.Context, device string, limit int) (v1.Timeline, error) {
	all := v1.Timeline{Points: []v1.TimelinePoint{}}
	query := url.Values{}
	err := collect(ctx, c, devicePath(device, "timeline"), query, limit, func(page *v1.Timeline) (int, bool) {
		all.Points, all.Next = append(all.Points, page.Points...), page.Next
		query.Set("before", strconv.FormatInt(page.Next, 10))
		return len(page.Points), page.Next != 0
	})
	return all, err
}

func (a *app) deviceFreshness() *cobra.Command {
	cmd := &cobra.Command{
		Use: "freshness DEVICE", Short: "Show what proves that a result is about the device now", Args: need("DEVICE"),
	}
	query := ofResult(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		return show(a, cmd, devicePath(args[0], "freshness"), q, func(w io.Writer, f *v1.Freshness) error {
			var out bytes.Buffer
			for _, t := range f.Text {
				for _, l := range wrap(safe(t), a.runningWidth()) {
					fmt.Fprintln(&out, l)
				}
			}
			fmt.Fprintln(&out)
			clock := ""
			if f.Clock > 0 {
				clock = grouped(int(f.Clock)) + " ms powered"
			}
			writeLines(&out, 0, []line{
				{"result", strconv.FormatInt(f.Result, 10)},
				{"nonce made", stamp(&f.Nonce)},
				{"appraised", stamp(&f.At)},
				{"stale at", withAge(&f.StaleAt)},
				{"TPM clock", clock},
				{"resets", fmt.Sprintf("%d, restarts %d", f.Resets, f.Restarts)},
				{"evidence", f.Evidence},
			})
			_, err := out.WriteTo(w)
			return err
		})
	}
	return cmd
}

func (a *app) deviceDiff() *cobra.Command {
	var at, withAt int64
	cmd := &cobra.Command{
		Use: "diff DEVICE [OTHER]", Short: "Show how two devices, or two moments of one, differ",
		ValidArgsFunction: a.completeDevices,
		Long: `Show how what two devices attested differs: platform, PCRs, boot events, files, flash and findings. With one device, --at
says with which of its earlier results the newest is compared. Results have the numbers that device show lists.`,
		Example: `  probity device diff edge-7 edge-8
  probity device diff edge-7 --at 1041`,
		Args: need("DEVICE", "[OTHER]"),
	}
	cmd.Flags().Int64Var(&at, "at", 0, "`NUMBER` of the result of DEVICE (default: the newest)")
	cmd.Flags().Int64Var(&withAt, "with-at", 0, "`NUMBER` of the result of OTHER (default: the newest)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		other := args[0]
		switch {
		case len(args) == 2:
			other = args[1]
		case at == 0 && withAt == 0:
			return usagef(cmd, "compare with what? give another device, or --at with an earlier result")
		}
		query := url.Values{"with": {other}}
		for name, seq := range map[string]int64{"at": at, "with_at": withAt} {
			if seq < 0 {
				return usagef(cmd, "--%s %d: want a number of a result", strings.ReplaceAll(name, "_", "-"), seq)
			}
			if seq > 0 {
				query.Set(name, strconv.FormatInt(seq, 10))
			}
		}
		return show(a, cmd, devicePath(args[0], "diff"), query, a.writeDiff)
	}
	return cmd
}

func (a *app) writeDiff(w io.Writer, d *v1.Diff) error {
	var out bytes.Buffer
	for _, side := range []struct {
		sign string
		v1.DiffSide
	}{{"-", d.Left}, {"+", d.Right}} {
		fmt.Fprintf(&out, "%s %s  result %d at %s  %s\n", side.sign, safe(named(v1.Device{
			ID:    side.Device,
			Label: side.Label,
		})), side.Result,
			stamp(&side.At), a.paint(safe(string(side.State)), stateColour(side.State)))
	}
	fmt.Fprintf(&out, "%s equal\n", count(d.Same, "thing"))
	for _, p := range d.Parts {
		if len(p.Lines) == 0 && p.Left == 0 {
			continue
		}
		fmt.Fprintf(&out, "\n%s\n", a.paint(safe(p.Part), bold))
		for _, l := range p.Lines {
			fmt.Fprintf(&out, "  %s\n", safe(l.What))
			if l.Left != "" {
				fmt.Fprintf(&out, "    %s\n", a.paint("- "+safe(l.Left), red))
			}
			if l.Right != "" {
				fmt.Fprintf(&out, "    %s\n", a.paint("+ "+safe(l.Right), green))
			}
		}
		if p.Left > 0 {
			fmt.Fprintf(&out, "  and %s\n", count(p.Left, "more difference"))
		}
	}
	_, err := out.WriteTo(w)
	return err
}
