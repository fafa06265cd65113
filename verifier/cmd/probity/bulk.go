package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// maxBulkDevices is how many devices can be named; filters select any number.
const maxBulkDevices = 1000

// bulkFlags are what all bulk actions take.
type bulkFlags struct {
	filter filterFlags
	all    bool
	yes    bool
}

func (a *app) deviceBulk() *cobra.Command {
	g := group("bulk", "Do the same with many devices: those that are named, or all that filters select",
		a.bulkAction("label", "Put devices in a group, or set labels on them", "label"),
		a.bulkAction("approve", "Let pending devices in", "approve"),
		a.bulkAction("attest", "Ask devices for evidence now", "ask for evidence"),
		a.bulkAction("remove", "Forget devices and their results; their events stay", "remove"))
	g.Long = `Do the same with many devices: those that are named, or all that filters select. The devices are counted first and the
number must be confirmed on a terminal, or with --yes; if another number is selected when it begins, nothing is done.
--dry-run only counts. The verifier goes on by itself when this command is interrupted.

DEVICE is a label, an id or its start; - reads full ids from standard input, one a line.`
	g.Example = `  probity device bulk label --model R7 --label site=Lagos --set-group south
  probity device bulk attest --state stale
  probity device bulk approve --status pending --vendor Acme --dry-run`
	return g
}

func (a *app) bulkAction(name, short, verb string) *cobra.Command {
	var flags bulkFlags
	var newGroup string
	var set, unset []string
	cmd := &cobra.Command{Use: name + " [DEVICE...]", Short: short, ValidArgsFunction: a.completeDevices}
	flags.filter.register(a, cmd)
	cmd.Flags().BoolVar(&flags.all, "all", false, "all devices, where no filter is given")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	if name == "label" {
		cmd.Flags().StringVar(&newGroup, "set-group", "", "put them in the group `NAME`; empty removes them from theirs")
		cmd.Flags().StringArrayVar(&set, "set", nil, "set a label, as `NAME=VALUE`; may be given several times")
		cmd.Flags().StringArrayVar(&unset, "unset", nil, "remove the label `NAME`; may be given several times")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := v1.BulkAction{Action: name}
		if cmd.Flags().Changed("set-group") {
			in.Group = &newGroup
		}
		labels, err := labelChanges(set, unset)
		if err != nil {
			return usagef(cmd, "%v", err)
		}
		if len(labels) > 0 {
			in.Labels = labels
		}
		if name == "label" && in.Group == nil && len(labels) == 0 {
			return usagef(cmd, "nothing to change: give --set-group, --set or --unset")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		if err := a.selectDevices(cmd, c, &flags, args, &in); err != nil {
			return err
		}
		return a.runBulk(cmd.Context(), c, in, verb, flags.yes)
	}
	return a.writes(cmd)
}

// selectDevices says in an action which devices it is about.
func (a *app) selectDevices(cmd *cobra.Command, c *client, flags *bulkFlags, args []string, in *v1.BulkAction) error {
	f, err := flags.filter.filter()
	if err != nil {
		return usagef(cmd, "%v", err)
	}
	switch {
	case len(args) > 0 && (!isEmpty(&f) || flags.all):
		return usagef(cmd, "name devices, or give filters, not both")
	case len(args) == 0 && isEmpty(&f) && !flags.all:
		return usagef(cmd, "which devices? name them, give filters, or --all")
	case len(args) == 0:
		in.Filter = &f
		return nil
	case len(args) == 1 && args[0] == "-":
		in.Devices, err = readIDs(a.stdin)
		return err
	case len(args) > maxBulkDevices:
		return usagef(cmd, "%d devices are named: at most %d; use filters", len(args), maxBulkDevices)
	}
	for _, name := range args {
		d, err := fetch[v1.Device](cmd.Context(), c, devicePath(name), nil)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		in.Devices = append(in.Devices, d.ID)
	}
	return nil
}

// readIDs reads ids, one a line.
func readIDs(r io.Reader) ([]string, error) {
	var ids []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		id := strings.TrimSpace(lines.Text())
		if id == "" {
			continue
		}
		if len(ids) == maxBulkDevices {
			return nil, fmt.Errorf("more than %d ids: use filters", maxBulkDevices)
		}
		ids = append(ids, id)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read ids: %w", err)
	}
	if len(ids) == 0 {
		return nil, errors.New("standard input has no ids")
	}
	return ids, nil
}

// runBulk counts, asks, does it and waits until it is done.
func (a *app) runBulk(ctx context.Context, c *client, in v1.BulkAction, verb string, yes bool) error {
	counted := in
	counted.DryRun = true
	var b v1.Bulk
	if err := c.call(ctx, http.MethodPost, "/v1/devices/bulk", nil, counted, &b); err != nil {
		return err
	}
	switch {
	case a.dryRun:
		a.say("dry run: would %s %s; nothing was changed", verb, count(b.Total, "device"))
		return a.print(b, func(io.Writer) error { return nil })
	case b.Total == 0:
		a.say("no device is selected: nothing to do")
		return a.print(b, func(io.Writer) error { return nil })
	}
	if err := a.consent(yes, "%s %s?", verb, count(b.Total, "device")); err != nil {
		return err
	}
	if in.Filter != nil {
		in.Expect = &b.Total
	}
	if err := c.call(ctx, http.MethodPost, "/v1/devices/bulk", nil, in, &b); err != nil {
		return err
	}
	id := b.ID
	err := a.awaitJob(ctx, "devices", func() (p v1.JobProgress, err error) {
		b, err = fetch[v1.Bulk](ctx, c, "/v1/bulk/"+url.PathEscape(id), nil)
		return b.JobProgress, err
	})
	if err != nil {
		return err
	}
	failed := len(b.Failures) + b.Left
	a.say("done with %s of %s", grouped(b.Total-failed), count(b.Total, "device"))
	if err := a.print(b, func(w io.Writer) error { return a.writeFailures(w, &b) }); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%s failed", count(failed, "device"))
	}
	return nil
}

func (a *app) writeFailures(w io.Writer, b *v1.Bulk) error {
	if len(b.Failures) == 0 {
		return nil
	}
	t := a.table("DEVICE", "LABEL", "FAILED BECAUSE")
	for _, f := range b.Failures {
		t.add(a.shownID(f.Device), f.Label, f.Why)
	}
	if b.Left > 0 {
		a.say("%s more failed", grouped(b.Left))
	}
	return t.write(w)
}
