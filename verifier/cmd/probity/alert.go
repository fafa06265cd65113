package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func (a *app) alertCommand() *cobra.Command {
	g := group("alert", "Alerts, and who is told what",
		a.reads(a.alertList()), a.reads(a.alertShow()), a.writes(a.alertAck()), a.ruleCommand(), a.channelCommand(),
		a.deliveryCommand())
	g.Long = `Alerts, and who is told what. A rule selects findings and states; a channel is where alerts go: Alertmanager, a webhook,
syslog or e-mail; a delivery is one telling. One bad release is one alert, however many devices run it.

  probity alert channel add oncall --kind webhook --target https://hooks.example/probity --secret
  probity alert channel test oncall
  probity alert rule add "bad firmware" --severity critical --channel oncall`
	return g
}

func (a *app) alertList() *cobra.Command {
	var state string
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List alerts, newest first", Args: need()}
	cmd.Flags().StringVar(&state, "state", "", "only those that are gathering, firing, acknowledged or resolved")
	limitFlag(cmd, &limit, 50, "most alerts to list")
	_ = cmd.RegisterFlagCompletionFunc("state", fixed("gathering", "firing", "acknowledged", "resolved"))
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
		all, err := c.alerts(cmd.Context(), state, limit)
		if err != nil {
			return err
		}
		return a.print(all, func(w io.Writer) error { return a.writeAlerts(w, all.Alerts) })
	})
	return cmd
}

// alerts collects pages up to limit.
func (c *client) alerts(ctx context.Context, state string, limit int) (v1.Alerts, error) {
	all := v1.Alerts{Alerts: []v1.Alert{}}
	query := url.Values{}
	if state != "" {
		query.Set("state", state)
	}
	err := collect(ctx, c, "/v1/alerts", query, limit, func(page *v1.Alerts) (int, bool) {
		all.Alerts, all.Next = append(all.Alerts, page.Alerts...), page.Next
		query.Set("before", page.Next)
		return len(page.Alerts), page.Next != ""
	})
	return all, err
}

func (a *app) writeAlerts(w io.Writer, list []v1.Alert) error {
	t := a.table("ALERT", "SEVERITY", "STATE", "DEVICES", "PEAK", "TITLE", "RULE", "SINCE", "+RESOLVED",
		"+ACKNOWLEDGED BY", "+CLUSTER")
	t.width = 80
	for _, one := range list {
		t.rows = append(t.rows, []cell{
			{text: one.ID},
			{string(one.Severity), severityColour(one.Severity)},
			{text: one.State, colour: alertColour(one.State)},
			{text: grouped(one.Devices)},
			{text: grouped(one.Peak)},
			{text: one.Title},
			{text: one.Rule},
			{text: ago(&one.Since)},
			{text: stamp(one.Resolved)},
			{text: one.Actor},
			{text: one.Cluster},
		})
	}
	return t.write(w)
}

func (a *app) alertShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ALERT", Short: "Show an alert and some of its devices", Args: need("ALERT"),
		ValidArgsFunction: first(a.completeAlerts),
		RunE: func(cmd *cobra.Command, args []string) error {
			return missing(show(a, cmd, alertPath(args[0]), nil, a.writeAlert), "alert", args[0], "alert list")
		},
	}
}

func alertPath(id string) string { return "/v1/alerts/" + url.PathEscape(id) }

func (a *app) writeAlert(w io.Writer, one *v1.Alert) error {
	sample := make([]string, len(one.Sample))
	for i, d := range one.Sample {
		sample[i] = named(v1.Device{ID: d.ID, Label: d.Label})
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s\n\n", a.paint(strings.ToUpper(safe(one.State)), alertColour(one.State)), safe(one.Title))
	lines := []line{
		{"severity", string(one.Severity)},
		{"finding", one.Code},
		{"component", one.Component},
		{"meaning", one.Meaning},
		{"expected", one.Expected},
		{"observed", one.Observed},
		{"which is of", one.Nearest},
		{"what to do", one.Action},
		{"devices", fmt.Sprintf("%s now, %s at most", grouped(one.Devices), grouped(one.Peak))},
		{"such as", strings.Join(sample, ", ")},
		{"rule", one.Rule},
		{"since", withAge(&one.Since)},
		{"updated", withAge(&one.Updated)},
		{"resolved", stamp(one.Resolved)},
		{"acknowledged by", one.Actor},
		{"told", "probity alert delivery list --alert " + one.ID},
	}
	if one.Cluster != "" {
		lines = append(lines, line{"look at", "probity fleet cluster " + one.Cluster})
	}
	writeLines(&b, 0, lines)
	_, err := b.WriteTo(w)
	return err
}

func alertColour(state string) string {
	switch state {
	case "firing":
		return red
	case "gathering":
		return yellow
	case "resolved":
		return green
	}
	return ""
}

func (a *app) alertAck() *cobra.Command {
	return &cobra.Command{
		Use: "ack ALERT", Short: "Say that somebody deals with an alert: it is not told again while it lasts", Args: need("ALERT"),
		ValidArgsFunction: first(a.completeAlerts),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			path := alertPath(args[0]) + "/acknowledge"
			if err := c.call(cmd.Context(), http.MethodPost, path, nil, nil, nil); err != nil {
				return missing(err, "alert", args[0], "alert list")
			}
			a.say("acknowledged alert %s", args[0])
			return nil
		}),
	}
}

func (a *app) completeAlerts(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, "/v1/alerts", url.Values{"state": {"firing"}}, func(list v1.Alerts) (out []string) {
		for _, one := range list.Alerts {
			out = append(out, offer(one.ID, one.Title))
		}
		return out
	})(cmd, args, typed)
}

func (a *app) deliveryCommand() *cobra.Command {
	return group("delivery", "What was told through which channel, and what could not be",
		a.reads(a.deliveryList()), a.writes(a.deliveryRetry()))
}

func (a *app) deliveryList() *cobra.Command {
	var state, alert string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List deliveries, newest first; dead ones were given up: see \"alert delivery retry\"", Args: need(),
	}
	cmd.Flags().StringVar(&state, "state", "", "only those that are waiting, sent or dead")
	cmd.Flags().StringVar(&alert, "alert", "", "only those of the alert with this `ID`")
	limitFlag(cmd, &limit, 50, "most deliveries to list")
	_ = cmd.RegisterFlagCompletionFunc("state", fixed("waiting", "sent", "dead"))
	_ = cmd.RegisterFlagCompletionFunc("alert", a.completeAlerts)
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
		all := v1.Deliveries{Deliveries: []v1.Delivery{}}
		query := url.Values{}
		if state != "" {
			query.Set("state", state)
		}
		if alert != "" {
			query.Set("alert", alert)
		}
		err := collect(cmd.Context(), c, "/v1/deliveries", query, limit, func(page *v1.Deliveries) (int, bool) {
			all.Deliveries, all.Next = append(all.Deliveries, page.Deliveries...), page.Next
			query.Set("before", strconv.FormatInt(page.Next, 10))
			return len(page.Deliveries), page.Next != 0
		})
		if err != nil {
			return err
		}
		return a.print(all, func(w io.Writer) error { return a.writeDeliveries(w, all.Deliveries) })
	})
	return cmd
}

func (a *app) writeDeliveries(w io.Writer, list []v1.Delivery) error {
	t := a.table("DELIVERY", "STATE", "CHANNEL", "ALERT", "ATTEMPTS", "MADE", "SENT", "NEXT ATTEMPT", "ERROR", "+SUBJECT")
	t.width = textWidth
	for _, d := range list {
		colour := map[string]string{"dead": red, "waiting": yellow, "sent": green}[d.State]
		channel := d.Channel
		if d.Recipient != "" {
			channel += ": " + d.Recipient
		}
		t.rows = append(t.rows, []cell{
			{text: strconv.FormatInt(d.ID, 10)},
			{text: d.State, colour: colour},
			{text: channel},
			{text: d.Alert},
			{text: strconv.Itoa(d.Attempts)},
			{text: ago(&d.Created)},
			{text: stamp(d.Sent)},
			{text: stamp(d.Next)},
			{text: d.Error},
			{text: d.Subject},
		})
	}
	return t.write(w)
}

func (a *app) deliveryRetry() *cobra.Command {
	return &cobra.Command{
		Use: "retry DELIVERY", Short: "Send a delivery again that was given up", Args: need("DELIVERY"),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			path := "/v1/deliveries/" + url.PathEscape(args[0]) + "/retry"
			if err := c.call(cmd.Context(), http.MethodPost, path, nil, nil, nil); err != nil {
				return missing(err, "delivery", args[0], "alert delivery list")
			}
			a.say("delivery %s is sent again", args[0])
			return nil
		}),
	}
}

// find returns the channel or rule with an id, or else the first with a name. what is "channel" or "rule".
func find[T any](list []T, what, wanted string, names func(T) (id, name string)) (found T, err error) {
	named := false
	for _, one := range list {
		id, name := names(one)
		if id == wanted {
			return one, nil
		}
		if name == wanted && !named {
			found, named = one, true
		}
	}
	if !named {
		err = fmt.Errorf("there is no %s %q: see \"probity alert %s list\"", what, wanted, what)
	}
	return found, err
}

// ruleWords says in words what a rule selects.
func ruleWords(r *v1.AlertRule) string {
	var parts []string
	add := func(what string, list []string) {
		if len(list) > 0 {
			parts = append(parts, what+" "+strings.Join(list, ", "))
		}
	}
	severity := cmp.Or(r.Severity, result.Warn)
	if len(r.Codes) == 0 && len(r.States) == 0 {
		parts = append(parts, "any finding of severity "+string(severity)+" or more")
	}
	add("findings", r.Codes)
	list := make([]string, len(r.States))
	for i, s := range r.States {
		list[i] = string(s)
	}
	add("states", list)
	add("groups", r.Groups)
	add("models", r.Models)
	if len(r.Labels) > 0 {
		parts = append(parts, "labels "+labelList(r.Labels))
	}
	return strings.Join(parts, "; ")
}
