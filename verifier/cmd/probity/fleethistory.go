package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) fleetChanges() *cobra.Command {
	var limit int
	cmd := &cobra.Command{Use: "changes", Short: "List which devices went from a state to another, newest first", Args: need()}
	limitFlag(cmd, &limit, 50, "most changes to list")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
		all, err := c.changes(cmd.Context(), limit)
		if err != nil {
			return err
		}
		return a.print(all, func(w io.Writer) error {
			t := a.table("AT", "DEVICE", "LABEL", "MODEL", "FROM", "TO", "WHY")
			t.width = textWidth
			for _, m := range all.Changes {
				t.rows = append(t.rows, []cell{
					{text: stamp(&m.At)},
					{text: a.shownID(m.Device)},
					{text: m.Label},
					{text: m.Model},
					{string(m.From), stateColour(m.From)},
					{string(m.To), stateColour(m.To)},
					{text: m.Why},
				})
			}
			return t.write(w)
		})
	})
	return cmd
}

// changes collects pages of changes up to limit.
func (c *client) changes(ctx context.Context, limit int) (v1.Changes, error) {
	all := v1.Changes{Changes: []v1.Change{}}
	query := url.Values{}
	err := collect(ctx, c, "/v1/fleet/changes", query, limit, func(page *v1.Changes) (int, bool) {
		all.Changes, all.Next = append(all.Changes, page.Changes...), page.Next
		query.Set("before", strconv.FormatInt(page.Next, 10))
		return len(page.Changes), page.Next != 0
	})
	return all, err
}

// shownID returns a device's id for a table: whole with -o wide.
func (a *app) shownID(id string) string {
	if a.output == "wide" {
		return id
	}
	return clipID(id)
}

// actor returns who did something for a table: devices as their ids are shown there.
func (a *app) actor(name string) string {
	if sum, err := hex.DecodeString(name); err == nil && len(sum) == sha256.Size {
		return a.shownID(name)
	}
	return name
}

func (a *app) fleetHistory() *cobra.Command {
	var from, to string
	var points int
	cmd := &cobra.Command{
		Use: "history", Short: "Count devices by state over time", Args: need(),
		Example: `  probity fleet history --from 7d
  probity fleet history --from 2026-03-01 --to 2026-03-08 -o json`,
	}
	cmd.Flags().StringVar(&from, "from", "24h", "`TIME`, or how long ago: 90m, 24h, 7d")
	cmd.Flags().StringVar(&to, "to", "", "`TIME`, or how long ago (default: now)")
	cmd.Flags().IntVar(&points, "points", 24, "how many moments, at most")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		if points < 2 {
			return usagef(cmd, "--points %d: want at least 2", points)
		}
		query.Set("points", strconv.Itoa(points))
		if err := between(query, from, to, time.Now()); err != nil {
			return usagef(cmd, "%v", err)
		}
		return show(a, cmd, "/v1/fleet/history", query, a.writeHistory)
	}
	return cmd
}

func (a *app) writeHistory(w io.Writer, h *v1.History) error {
	heads := []string{"AT"}
	for _, s := range states {
		heads = append(heads, string(s))
	}
	t := a.table(append(heads, "REPORTS")...)
	at := func(list []int, i int) string {
		if i >= len(list) {
			return "0"
		}
		return grouped(list[i])
	}
	for i, unix := range h.At {
		moment := time.Unix(unix, 0)
		row := []cell{{text: stamp(&moment)}}
		for _, s := range states {
			row = append(row, cell{text: at(h.States[s], i), colour: stateColour(s)})
		}
		t.rows = append(t.rows, append(row, cell{text: at(h.Reports, i)}))
	}
	return t.write(w)
}

// between sets the parameters from and to.
func between(query url.Values, from, to string, now time.Time) error {
	for name, text := range map[string]string{"from": from, "to": to} {
		if text == "" {
			continue
		}
		t, err := momentOrAge(text, now)
		if err != nil {
			return fmt.Errorf("--%s: %w", name, err)
		}
		query.Set(name, t.UTC().Format(time.RFC3339))
	}
	return nil
}

// momentOrAge reads a time, or how long before now it was.
func momentOrAge(s string, now time.Time) (time.Time, error) {
	if t, err := parseMoment(s); err == nil && t != nil {
		return *t, nil
	}
	d, err := age(s)
	if err != nil {
		return now, fmt.Errorf("%q: want a time such as 2026-03-01 or 2026-03-01T12:00:00Z, or how long ago: 90m, 24h, 7d", s)
	}
	return now.Add(-d), nil
}

// age reads a duration, also in days.
func age(s string) (time.Duration, error) {
	if n := len(s) - 1; n > 0 && s[n] == 'd' {
		days, err := strconv.ParseFloat(s[:n], 64)
		if err != nil || days < 0 || days > 36500 {
			return 0, errors.New("not a number of days")
		}
		return time.Duration(days * 24 * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		return 0, errors.New("negative")
	}
	return d, err
}

func (a *app) fleetFacets() *cobra.Command {
	return &cobra.Command{
		Use: "facets", Short: "List by what devices can be filtered: vendors, models, firmware, groups, findings, labels",
		Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/fleet/facets", nil, func(w io.Writer, f *v1.Facets) error {
				t := a.table("FILTER", "VALUE", "DEVICES")
				t.width = textWidth
				add := func(filter string, list []v1.ValueCount) {
					for _, v := range list {
						t.add(filter, v.Value, grouped(v.Devices))
					}
				}
				add("--vendor", f.Vendors)
				add("--model", f.Models)
				add("--firmware", f.Firmwares)
				add("--group", f.Groups)
				add("--finding", f.Codes)
				for _, name := range keysOf(f.Labels) {
					for _, v := range f.Labels[name] {
						t.add("--label", name+"="+v.Value, grouped(v.Devices))
					}
				}
				return t.write(w)
			})
		},
	}
}
