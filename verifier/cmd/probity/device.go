package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
		a.deviceList(), a.deviceShow(), a.deviceLabel(), a.deviceApprove(), a.deviceAttest(),
		a.deviceCapture(), a.deviceCaptures(), a.deviceRemove())
}

func devicePath(name string, rest ...string) string {
	return "/v1/devices/" + strings.Join(append([]string{url.PathEscape(name)}, rest...), "/")
}

func (a *app) deviceList() *cobra.Command {
	var limit int
	filters := map[string]*string{}
	cmd := &cobra.Command{Use: "list", Short: "List devices and their states", Args: need()}
	for _, f := range []struct{ flag, parameter, help string }{
		{"state", "state", "trusted, warning, untrusted, stale, never-attested or unsupported"},
		{"status", "status", "approved, pending or active"},
		{"model", "model", "model, as the device reports it"},
		{"group", "group", "group"},
		{"query", "q", "part of label, model, vendor or id"},
	} {
		filters[f.parameter] = cmd.Flags().String(f.flag, "", f.help)
	}
	cmd.Flags().IntVar(&limit, "limit", 1000, "most devices to list")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 {
			return usagef(cmd, "--limit %d: want at least 1", limit)
		}
		query := url.Values{}
		for name, value := range filters {
			if *value != "" {
				query.Set(name, *value)
			}
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
			a.say("more than %d devices match: narrow the search or raise --limit", limit)
		}
		return a.print(list, func(w io.Writer) error { return a.writeDevices(w, list.Devices) })
	}
	return cmd
}

// listDevices collects pages up to limit devices. Next tells whether there are more.
func listDevices(ctx context.Context, c *client, query url.Values, limit int) (v1.Devices, error) {
	all := v1.Devices{Devices: []v1.Device{}}
	for {
		query.Set("limit", strconv.Itoa(min(pageSize, limit-len(all.Devices))))
		var page v1.Devices
		if err := c.call(ctx, http.MethodGet, "/v1/devices", query, nil, &page); err != nil {
			return all, err
		}
		all.Devices = append(all.Devices, page.Devices...)
		all.Next = page.Next
		if page.Next == "" || len(all.Devices) >= limit {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}

func (a *app) writeDevices(w io.Writer, devices []v1.Device) error {
	t := a.table("DEVICE", "LABEL", "STATE", "IDENTITY", "STATUS", "VENDOR", "MODEL", "LAST SEEN")
	t.width = 40
	for _, d := range devices {
		t.rows = append(t.rows, []cell{
			{text: clipID(d.ID)},
			{text: d.Label},
			{text: string(d.State), colour: stateColour(d.State)},
			{text: string(d.Level)},
			{text: d.Status},
			{text: d.Vendor},
			{text: d.Model},
			{text: ago(d.LastSeen)},
		})
	}
	return t.write(w)
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
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return need("DEVICE")(cmd, args)
		},
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
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		var d v1.Device
		if err := c.call(cmd.Context(), http.MethodGet, devicePath(args[0]), nil, nil, &d); err != nil {
			return err
		}
		if !yes && isTerminal(a.stdin) && !a.confirm("remove %s and all its results? [y/N] ", named(d)) {
			return errors.New("not removed")
		}
		if err := c.call(cmd.Context(), http.MethodDelete, devicePath(d.ID), nil, nil, nil); err != nil {
			return err
		}
		a.say("removed %s", named(d))
		return nil
	}
	return cmd
}

func (a *app) confirm(format string, args ...any) bool {
	fmt.Fprint(a.stderr, safe(fmt.Sprintf(format, args...)))
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	return err == nil && strings.EqualFold(strings.TrimSpace(line), "y")
}
