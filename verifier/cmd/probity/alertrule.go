package main

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

const rulesPath = "/v1/alert-rules"

func (a *app) ruleCommand() *cobra.Command {
	return group("rule", "Which findings and states are told to whom",
		a.reads(a.ruleList()), a.writes(a.ruleAdd()), a.writes(a.ruleSet()), a.writes(a.ruleRemove()))
}

func rulePath(id string) string { return rulesPath + "/" + url.PathEscape(id) }

// rule returns the rule with an id or name.
func (c *client) rule(ctx context.Context, name string) (v1.AlertRule, error) {
	list, err := fetch[v1.AlertRules](ctx, c, rulesPath, nil)
	if err != nil {
		return v1.AlertRule{}, err
	}
	return find(list.Rules, "rule", name, func(r v1.AlertRule) (id, name string) { return r.ID, r.Name })
}

func (a *app) ruleList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List rules", Args: need(),
		RunE: a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
			list, err := fetch[v1.AlertRules](cmd.Context(), c, rulesPath, nil)
			if err != nil {
				return err
			}
			names, err := c.channelNames(cmd.Context())
			if err != nil {
				return err
			}
			if len(list.Rules) == 0 {
				a.say("there are no rules, so nobody is told anything: see \"probity alert rule add --help\"")
			}
			return a.print(list, func(w io.Writer) error { return a.writeRules(w, list.Rules, names) })
		}),
	}
}

func (a *app) writeRules(w io.Writer, list []v1.AlertRule, channels map[string]string) error {
	t := a.table("NAME", "SELECTS", "TOLD TO", "GATHERS", "AGAIN AFTER", "STATE", "+ID")
	t.width = textWidth
	for i := range list {
		r := &list[i]
		to := make([]string, len(r.Channels))
		for i, id := range r.Channels {
			to[i] = id
			if name := channels[id]; name != "" {
				to[i] = name
			}
		}
		state := "enabled"
		if r.Disabled {
			state = "disabled"
		}
		t.add(r.Name, ruleWords(r), cmp.Or(strings.Join(to, ", "), "nobody"), seconds(r.Wait, 30), seconds(r.Repeat, 14400), state, r.ID)
	}
	return t.write(w)
}

// seconds shows a number of seconds; 0 is the verifier's own choice.
func seconds(n, usual int64) string {
	return roughly(time.Duration(cmp.Or(n, usual)) * time.Second)
}

// ruleFlags are the flags that say what a rule does.
type ruleFlags struct {
	states, codes, groups, models, labels, channels []string
	severity                                        string
	wait, repeat                                    time.Duration
	disable, enable                                 bool
}

func (f *ruleFlags) register(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.states, "state", nil, "states that a device goes into, such as untrusted,stale")
	flags.StringSliceVar(&f.codes, "finding", nil, "codes of findings, such as boot-event-unknown")
	flags.StringVar(&f.severity, "severity", "", "least severity of findings: info, warning or critical (default: warning)")
	flags.StringArrayVar(&f.groups, "group", nil,
		"`PATTERN` of devices' groups; * stands for any characters; may be given several times")
	flags.StringArrayVar(&f.models, "model", nil, "`PATTERN` of VENDOR/MODEL; may be given several times")
	flags.StringArrayVar(&f.labels, "label", nil, "label of devices, as NAME=VALUE; may be given several times")
	flags.StringArrayVar(&f.channels, "channel", nil, "`NAME` or id of a channel; may be given several times")
	flags.DurationVar(&f.wait, "wait", 0, "how long an alert gathers devices before it is first told (default: 30s)")
	flags.DurationVar(&f.repeat, "repeat", 0, "how often an alert that lasts is told again (default: 4h)")
	flags.BoolVar(&f.disable, "disable", false, "tell nobody for now")
	_ = cmd.RegisterFlagCompletionFunc("severity", fixed(severities...))
	_ = cmd.RegisterFlagCompletionFunc("channel", a.completeChannels)
	_ = cmd.RegisterFlagCompletionFunc("finding", a.completeFacet(func(f *v1.Facets) []v1.ValueCount { return f.Codes }))
	_ = cmd.RegisterFlagCompletionFunc("group", a.completeFacet(func(f *v1.Facets) []v1.ValueCount { return f.Groups }))
}

// apply changes a rule to what the given flags say.
func (f *ruleFlags) apply(cmd *cobra.Command, c *client, r *v1.AlertRule) error {
	given := cmd.Flags().Changed
	chosen, err := (&filterFlags{states: f.states, labels: f.labels}).filter()
	if err != nil {
		return usagef(cmd, "%v", err)
	}
	if given("state") {
		r.States = chosen.State
	}
	if given("severity") {
		if !slices.Contains(severities, f.severity) {
			return usagef(cmd, "--severity %q: want info, warning or critical", f.severity)
		}
		r.Severity = result.Severity(f.severity)
	}
	if given("finding") {
		r.Codes = f.codes
	}
	if given("group") {
		r.Groups = f.groups
	}
	if given("model") {
		r.Models = f.models
	}
	if given("label") {
		r.Labels = chosen.Labels
	}
	if given("wait") {
		if r.Wait, err = wholeSeconds(cmd, "wait", f.wait); err != nil {
			return err
		}
	}
	if given("repeat") {
		if r.Repeat, err = wholeSeconds(cmd, "repeat", f.repeat); err != nil {
			return err
		}
	}
	if given("disable") || f.enable {
		r.Disabled = f.disable && !f.enable
	}
	if given("channel") {
		r.Channels = []string{}
		for _, name := range f.channels {
			channel, err := c.channel(cmd.Context(), name)
			if err != nil {
				return err
			}
			r.Channels = append(r.Channels, channel.ID)
		}
	}
	return nil
}

func (a *app) ruleAdd() *cobra.Command {
	var flags ruleFlags
	cmd := &cobra.Command{
		Use: "add NAME --channel CHANNEL", Short: "Tell somebody of findings and states", Args: need("NAME"),
		Long: `Tell somebody of findings and states. What is not given selects everything: without --state and --finding, every finding of
severity warning or more.`,
		Example: `  probity alert rule add "bad firmware" --severity critical --channel oncall
  probity alert rule add silence --state stale --group 'north*' --channel mail --wait 10m`,
	}
	flags.register(a, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(flags.channels) == 0 {
			return usagef(cmd, "--channel is missing: who is told? See \"probity alert channel list\"")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		in := v1.AlertRule{Name: args[0]}
		if err := flags.apply(cmd, c, &in); err != nil {
			return err
		}
		return a.saveRule(cmd.Context(), c, http.MethodPost, rulesPath, in, "added")
	}
	return cmd
}

func (a *app) saveRule(ctx context.Context, c *client, method, path string, in v1.AlertRule, done string) error {
	var out v1.AlertRule
	if err := c.call(ctx, method, path, nil, in, &out); err != nil {
		return err
	}
	a.say("%s rule %s", done, out.Name)
	names, err := c.channelNames(ctx)
	if err != nil {
		return err
	}
	return a.print(out, func(w io.Writer) error { return a.writeRules(w, []v1.AlertRule{out}, names) })
}

func (a *app) ruleSet() *cobra.Command {
	var flags ruleFlags
	var name string
	cmd := &cobra.Command{
		Use: "set RULE", Short: "Change a rule, by its name or id; what is not given stays", Args: need("RULE"),
		ValidArgsFunction: first(a.completeRules),
	}
	flags.register(a, cmd)
	enableFlag(cmd, &flags.enable, &flags.disable, "tell again")
	cmd.Flags().StringVar(&name, "name", "", "give it this name")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, args []string) error {
		r, err := c.rule(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if name != "" {
			r.Name = name
		}
		if err := flags.apply(cmd, c, &r); err != nil {
			return err
		}
		return a.saveRule(cmd.Context(), c, http.MethodPut, rulePath(r.ID), r, "changed")
	})
	return cmd
}

func (a *app) ruleRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove RULE", Short: "Remove a rule, by its name or id", Args: need("RULE"),
		ValidArgsFunction: first(a.completeRules),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, args []string) error {
		r, err := c.rule(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.remove(cmd.Context(), yes, rulePath(r.ID), "rule "+r.Name)
	})
	return cmd
}

func (a *app) completeRules(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, rulesPath, nil, func(list v1.AlertRules) (out []string) {
		for i := range list.Rules {
			r := &list.Rules[i]
			out = append(out, cmp.Or(offer(r.Name, ruleWords(r)), offer(r.ID, r.Name)))
		}
		return out
	})(cmd, args, typed)
}
