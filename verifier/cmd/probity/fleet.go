package main

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// states are all states of a device, best first.
var states = []result.State{
	result.Trusted, result.Warning, result.Untrusted, result.Stale, result.NeverAttested, result.Unsupported,
}

const barWidth = 40 // characters

func (a *app) fleetCommand() *cobra.Command {
	return group("fleet", "See all devices at once: counts, clusters of identical failures, what changed",
		a.reads(a.fleetSummary()), a.reads(a.fleetClusters()), a.reads(a.fleetCluster()), a.reads(a.fleetChanges()),
		a.fleetHistory(), a.fleetFacets())
}

func (a *app) fleetSummary() *cobra.Command {
	return &cobra.Command{
		Use: "summary", Short: "Count devices by state and by age of their evidence; what changed in a day, what needs attention",
		Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/fleet/summary", nil, a.writeSummary)
		},
	}
}

func (a *app) writeSummary(w io.Writer, s *v1.Summary) error {
	var b bytes.Buffer
	t := a.table("STATE", "DEVICES", "SHARE", " ")
	for _, state := range states {
		n := s.States[state]
		t.rows = append(t.rows, []cell{
			{string(state), stateColour(state)},
			{text: grouped(n)},
			{text: share(n, s.Total)},
			{text: bar(n, s.Total), colour: stateColour(state)},
		})
	}
	t.add("all", grouped(s.Total), "", " ")
	if err := t.write(&b); err != nil {
		return err
	}
	if s.Pending > 0 {
		fmt.Fprintf(&b, "\n%s for approval: probity device list --status pending\n", waits(s.Pending))
	}
	if s.Clusters > 0 {
		fmt.Fprintf(&b, "\n%s of identical failures: probity fleet clusters\n", count(s.Clusters, "cluster"))
	}
	if len(s.Ages) > 0 && s.Total > 0 {
		b.WriteString("\nAge of the newest evidence\n")
		writeLines(&b, 2, ageLines(s.Ages))
	}
	if len(s.Moves) > 0 {
		b.WriteString("\nIn the last 24 hours\n")
		lines := make([]line, len(s.Moves))
		for i, m := range s.Moves {
			lines[i] = line{string(m.From) + " to " + string(m.To), count(m.Devices, "device")}
		}
		writeLines(&b, 2, lines)
	}
	if len(s.Notices) > 0 {
		b.WriteString("\nNeeds attention\n")
		lines := make([]line, len(s.Notices))
		for i, n := range s.Notices {
			lines[i] = line{n.Kind, n.Text}
			if n.At != nil {
				lines[i].value += " (" + ago(n.At) + ")"
			}
		}
		writeLines(&b, 2, lines)
	}
	_, err := b.WriteTo(w)
	return err
}

func waits(n int) string {
	if n == 1 {
		return "1 device waits"
	}
	return count(n, "device") + " wait"
}

func ageLines(ages []v1.AgeBucket) []line {
	lines := make([]line, len(ages))
	from := time.Duration(0)
	for i, b := range ages {
		to := time.Duration(b.UpTo) * time.Second
		name := "older"
		if b.UpTo > 0 {
			name = "up to " + roughly(to)
		} else if from > 0 {
			name = "over " + roughly(from)
		}
		lines[i] = line{name, count(b.Devices, "device")}
		from = to
	}
	return lines
}

// share returns what part of all n is, in percent. What is not nothing and not all never shows as such.
func share(n, all int) string {
	switch {
	case all == 0 || n == 0:
		return "0 %"
	case n == all:
		return "100 %"
	}
	percent := 100 * float64(n) / float64(all)
	switch {
	case percent < 0.1:
		return "<0.1 %"
	case percent > 99.9:
		return ">99.9 %"
	}
	return fmt.Sprintf("%.1f %%", percent)
}

// bar draws what part of all n is; what is not nothing has at least one character.
func bar(n, all int) string {
	if n <= 0 || all <= 0 {
		return " "
	}
	return strings.Repeat("#", max(1, n*barWidth/all))
}

func (a *app) fleetClusters() *cobra.Command {
	var limit int
	var severity string
	cmd := &cobra.Command{
		Use: "clusters", Short: "List clusters of devices that fail in the same way, most severe and largest first", Args: need(),
		Long: `List clusters of devices whose newest results have the same finding: same code, component and observed value. One bad
release is one line, however many devices run it. "probity device list --cluster ID" lists the devices.`,
	}
	limitFlag(cmd, &limit, 50, "most clusters to list")
	cmd.Flags().StringVar(&severity, "severity", "", "only findings at least so severe: info, warning or critical (default: warning)")
	_ = cmd.RegisterFlagCompletionFunc("severity", fixed(severities...))
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
		query := url.Values{"limit": {strconv.Itoa(limit)}}
		if severity != "" {
			query.Set("severity", severity)
		}
		list, err := fetch[v1.Clusters](cmd.Context(), c, "/v1/fleet/clusters", query)
		if err != nil {
			return err
		}
		if list.More {
			a.say("there are more than %s: raise --limit", count(len(list.Clusters), "cluster"))
		}
		if len(list.Clusters) == 0 {
			a.say("no device fails")
		}
		return a.print(list, func(w io.Writer) error { return a.writeClusters(w, list.Clusters) })
	})
	return cmd
}

// severities are the names of all severities, least first.
var severities = []string{string(result.Info), string(result.Warn), string(result.Critical)}

func (a *app) writeClusters(w io.Writer, list []v1.Cluster) error {
	if len(list) == 0 {
		return nil
	}
	t := a.table("CLUSTER", "SEVERITY", "DEVICES", "FINDING", "COMPONENT", "MODELS", "+GROUPS", "+EXPECTED",
		"+OBSERVED", "+NEAREST", "SINCE")
	t.width = textWidth
	for _, c := range list {
		t.rows = append(t.rows, []cell{
			{text: c.ID},
			{string(c.Severity), severityColour(c.Severity)},
			{text: grouped(c.Devices)},
			{text: c.Code},
			{text: c.Component},
			{text: values(c.Models)},
			{text: values(c.Groups)},
			{text: c.Expected},
			{text: c.Observed},
			{text: c.Nearest},
			{text: ago(&c.Since)},
		})
	}
	return t.write(w)
}

// values lists values with the number of their devices.
func values(list []v1.ValueCount) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = fmt.Sprintf("%s (%s)", v.Value, grouped(v.Devices))
	}
	return strings.Join(parts, ", ")
}

func (a *app) fleetCluster() *cobra.Command {
	return &cobra.Command{
		Use: "cluster ID", Short: "Show a cluster: what fails, where, since when, on which devices", Args: need("ID"),
		ValidArgsFunction: first(a.completeClusters),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := show(a, cmd, "/v1/fleet/clusters/"+url.PathEscape(args[0]), nil, a.writeCluster)
			if isMissing(err) {
				return fmt.Errorf("cluster %q: %w; no device shows it any more, or see \"probity fleet clusters\"", args[0], err)
			}
			return err
		},
	}
}

func (a *app) writeCluster(w io.Writer, c *v1.Cluster) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s: %s\n", a.paint(strings.ToUpper(safe(string(c.Severity))), severityColour(c.Severity)),
		count(c.Devices, "device"), safe(c.Component))
	fmt.Fprintf(&b, "%s\n\n", safe(c.Meaning))
	writeLines(&b, 0, []line{
		{"finding", c.Code},
		{"expected", c.Expected},
		{"observed", c.Observed},
		{"nearest", c.Nearest},
		{"since", withAge(&c.Since)},
		{"models", values(c.Models)},
		{"groups", values(c.Groups)},
		{"what to do", c.Action},
		{"devices", "probity device list --cluster " + c.ID},
	})
	_, err := b.WriteTo(w)
	return err
}
