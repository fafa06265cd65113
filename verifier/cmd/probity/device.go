package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

const (
	pageSize = 500 // entries of one request
	shortID  = 12  // digits of a device id that tables show; any verifier tells when they are not enough
)

func (a *app) deviceCommand() *cobra.Command {
	return group("device", "See devices, let them in, name them, ask for evidence",
		a.reads(a.deviceList()), a.reads(a.deviceShow()), a.writes(a.deviceLabel()), a.writes(a.deviceApprove()),
		a.writes(a.deviceAttest()), a.writes(a.deviceCapture()), a.writes(a.deviceCaptures()), a.writes(a.deviceRemove()),
		a.deviceExport(), a.deviceBulk(), a.reads(a.deviceBoot()), a.reads(a.deviceFiles()), a.reads(a.deviceFlash()),
		a.reads(a.deviceTimeline()), a.reads(a.deviceFreshness()), a.deviceDiff(), a.deviceEvidence(), a.deviceBootLog(),
		a.deviceIMAList())
}

func devicePath(name string, rest ...string) string {
	return "/v1/devices/" + strings.Join(append([]string{url.PathEscape(name)}, rest...), "/")
}

// sortOrders are the orders in which devices can be listed.
var sortOrders = []string{"id", "label", "state", "last_seen", "since"}

func (a *app) deviceList() *cobra.Command {
	var limit int
	var order, direction string
	var filter filterFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List devices and their states", Args: need(),
		Long: `List devices and their states. All filters that are given must fit. "probity fleet facets" lists the values that devices
have; "probity device bulk" acts on what a list shows, "probity device export" writes it for spreadsheets.`,
		Example: `  probity device list --state untrusted,warning --group north
  probity device list --cluster 5f21ff2c0d5d8998 -o wide
  probity device list --label site=Lagos --sort last_seen --watch`,
	}
	filter.register(a, cmd)
	limitFlag(cmd, &limit, 1000, "most devices to list")
	cmd.Flags().StringVar(&order, "sort", "", "id, label, state, last_seen or since (default: id)")
	cmd.Flags().StringVar(&direction, "order", "", "asc or desc (default: newest first by last_seen and since, otherwise ascending)")
	_ = cmd.RegisterFlagCompletionFunc("sort", fixed(sortOrders...))
	_ = cmd.RegisterFlagCompletionFunc("order", fixed("asc", "desc"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := filter.filter()
		if err != nil {
			return usagef(cmd, "%v", err)
		}
		query := filterQuery(&f)
		if order != "" {
			if !slices.Contains(sortOrders, order) {
				return usagef(cmd, "--sort %q: want id, label, state, last_seen or since", order)
			}
			query.Set("sort", order)
		}
		switch direction {
		case "":
		case "asc", "desc":
			query.Set("order", direction)
		default:
			return usagef(cmd, "--order %q: want asc or desc", direction)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		list, err := listDevices(cmd.Context(), c, query, limit)
		if err != nil {
			return err
		}
		if list.Next != "" {
			a.say("%s: narrow the search or raise --limit", listed(&list))
		}
		return a.print(list, func(w io.Writer) error { return a.writeDevices(w, list.Devices) })
	}
	return cmd
}

// listed says how much of a list is there.
func listed(list *v1.Devices) string {
	switch {
	case list.Total <= len(list.Devices): // a verifier that does not count, or did not count so far
		return fmt.Sprintf("listed are %s, there may be more", count(len(list.Devices), "device"))
	case list.TotalMore:
		return fmt.Sprintf("listed are %s of at least %s", grouped(len(list.Devices)), count(list.Total, "device"))
	}
	return fmt.Sprintf("listed are %s of %s", grouped(len(list.Devices)), count(list.Total, "device"))
}

// listDevices collects pages up to limit devices, partial ones too. Next tells whether there are more.
func listDevices(ctx context.Context, c *client, query url.Values, limit int) (v1.Devices, error) {
	all := v1.Devices{Devices: []v1.Device{}}
	for {
		query.Set("limit", strconv.Itoa(min(pageSize, limit-len(all.Devices))))
		page, err := fetch[v1.Devices](ctx, c, "/v1/devices", query)
		if err != nil {
			return all, err
		}
		all.Devices = append(all.Devices, page.Devices...)
		all.Next, all.Total, all.TotalMore = page.Next, page.Total, page.TotalMore
		if page.Next == "" || len(page.Devices) == 0 && !page.Partial || len(all.Devices) >= limit {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}

func (a *app) writeDevices(w io.Writer, devices []v1.Device) error {
	t := a.table("DEVICE", "LABEL", "STATE", "IDENTITY", "STATUS", "+GROUP", "VENDOR", "MODEL", "+FIRMWARE", "+AGENT", "+LABELS",
		"+VERDICT", "+SINCE", "LAST SEEN", "+STALE AT")
	t.width = 40
	for _, d := range devices {
		t.rows = append(t.rows, []cell{
			{text: a.shownID(d.ID)},
			{text: d.Label},
			{text: string(d.State), colour: stateColour(d.State)},
			{text: string(d.Level)},
			{text: d.Status},
			{text: d.Group},
			{text: d.Vendor},
			{text: d.Model},
			{text: d.Firmware},
			{text: d.Agent},
			{text: labelList(d.Labels)},
			{text: string(d.Verdict), colour: stateColour(d.Verdict)},
			{text: stamp(d.Since)},
			{text: ago(d.LastSeen)},
			{text: stamp(d.StaleAt)},
		})
	}
	return t.write(w)
}

// labelList lists labels in the order of their names.
func labelList(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for _, name := range keysOf(labels) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, ", ")
}

func clipID(id string) string { return id[:min(len(id), shortID)] }

// named returns how messages call a device.
func named(d v1.Device) string {
	if d.Label == "" {
		return clipID(d.ID)
	}
	return fmt.Sprintf("%s (%s)", d.Label, clipID(d.ID))
}

func (a *app) deviceLabel() *cobra.Command {
	var group string
	var set, unset []string
	cmd := &cobra.Command{
		Use: "label DEVICE [LABEL]", Short: "Name a device, put it in a group, set further labels",
		Long: `Name a device, put it in a group, set further labels. LABEL "" removes the name, --group "" the group.`,
		Args: need("DEVICE", "[LABEL]"),
	}
	cmd.Flags().StringVar(&group, "group", "", "group of the device")
	cmd.Flags().StringArrayVar(&set, "set", nil, "further label `NAME=VALUE`; may be repeated")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "further label to remove; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var patch v1.DevicePatch
		if len(args) == 2 {
			patch.Label = &args[1]
		}
		if cmd.Flags().Changed("group") {
			patch.Group = &group
		}
		labels, err := labelChanges(set, unset)
		if err != nil {
			return usagef(cmd, "%v", err)
		}
		patch.Labels = labels
		if patch.Label == nil && patch.Group == nil && len(labels) == 0 {
			return usagef(cmd, "nothing to change: give LABEL, --group, --set or --unset")
		}
		return a.changeDevice(cmd, http.MethodPatch, devicePath(args[0]), patch, "changed")
	}
	return cmd
}

func labelChanges(set, unset []string) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range set {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" || value == "" {
			return nil, fmt.Errorf("--set %q: want NAME=VALUE", s)
		}
		out[name] = value
	}
	for _, name := range unset {
		out[name] = ""
	}
	return out, nil
}

func (a *app) deviceApprove() *cobra.Command {
	return &cobra.Command{
		Use: "approve DEVICE", Short: "Let a pending device in, or one with this full id when it comes", Args: need("DEVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeDevice(cmd, http.MethodPost, devicePath(args[0], "approve"), nil, "approved")
		},
	}
}

// changeDevice asks for a change and shows the device that comes of it.
func (a *app) changeDevice(cmd *cobra.Command, method, path string, in any, done string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var d v1.Device
	if err := c.call(cmd.Context(), method, path, nil, in, &d); err != nil {
		return err
	}
	a.say("%s %s", done, named(d))
	return a.print(d, func(w io.Writer) error { return a.writeDevices(w, []v1.Device{d}) })
}

func (a *app) deviceRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove DEVICE", Short: "Forget a device and its results; its events stay", Args: need("DEVICE"),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask, as when the input is no terminal")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, args []string) error {
		d, err := fetch[v1.Device](cmd.Context(), c, devicePath(args[0]), nil)
		if err != nil {
			return err
		}
		if !yes && !a.dryRun && isTerminal(a.stdin) && !a.confirm("remove %s and all its results? [y/N] ", named(d)) {
			return errors.New("not removed")
		}
		if err := c.call(cmd.Context(), http.MethodDelete, devicePath(d.ID), nil, nil, nil); err != nil {
			return err
		}
		a.say("removed %s", named(d))
		return nil
	})
	return cmd
}
