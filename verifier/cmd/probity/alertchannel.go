package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

const channelsPath = "/v1/alert-channels"

// channelKinds are the kinds of channels.
var channelKinds = []string{"alertmanager", "webhook", "syslog", "email"}

func (a *app) channelCommand() *cobra.Command {
	return group("channel", "Where alerts are told",
		a.reads(a.channelList()), a.writes(a.channelAdd()), a.writes(a.channelSet()), a.writes(a.channelRemove()),
		a.writes(a.channelTest()))
}

func channelPath(id string) string { return channelsPath + "/" + url.PathEscape(id) }

// channel returns the channel with an id or name.
func (c *client) channel(ctx context.Context, name string) (v1.AlertChannel, error) {
	list, err := fetch[v1.AlertChannels](ctx, c, channelsPath, nil)
	if err != nil {
		return v1.AlertChannel{}, err
	}
	return find(list.Channels, "channel", name, func(one v1.AlertChannel) (id, name string) { return one.ID, one.Name })
}

// channelNames returns the names of all channels by id.
func (c *client) channelNames(ctx context.Context) (map[string]string, error) {
	list, err := fetch[v1.AlertChannels](ctx, c, channelsPath, nil)
	out := map[string]string{}
	for _, one := range list.Channels {
		out[one.ID] = one.Name
	}
	return out, err
}

func (a *app) channelList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List channels and whether they work", Args: need(),
		RunE: a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
			list, err := fetch[v1.AlertChannels](cmd.Context(), c, channelsPath, nil)
			if err != nil {
				return err
			}
			if len(list.Channels) == 0 {
				a.say("there are no channels: see \"probity alert channel add --help\"")
			}
			return a.print(list, func(w io.Writer) error { return a.writeChannels(w, list.Channels) })
		}),
	}
}

func (a *app) writeChannels(w io.Writer, list []v1.AlertChannel) error {
	t := a.table("NAME", "KIND", "TARGET", "TO", "STATE", "LAST SENT", "+FROM", "+USER", "+SECRET", "+ID")
	t.width = textWidth
	for _, one := range list {
		state := cell{"works", green}
		switch {
		case one.Disabled:
			state = cell{"disabled", yellow}
		case one.Failing != "":
			state = cell{"fails: " + one.Failing, red}
		case one.Last == nil:
			state = cell{text: "not used yet"}
		}
		secret := ""
		if one.HasSecret {
			secret = "set"
		}
		t.rows = append(t.rows, []cell{
			{text: one.Name},
			{text: one.Kind},
			{text: one.Target},
			{text: strings.Join(one.To, ", ")},
			state,
			{text: ago(one.Last)},
			{text: one.From},
			{text: one.User},
			{text: secret},
			{text: one.ID},
		})
	}
	return t.write(w)
}

// channelFlags are the flags that say where a channel leads.
type channelFlags struct {
	kind, target, from, user, secretFile string
	to                                   []string
	secret, disable, enable              bool
}

func (f *channelFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "`URL`: https://... of Alertmanager or a webhook; "+
		"udp://, tcp:// or tls://HOST:PORT of syslog; smtp:// or smtps://HOST:PORT of e-mail")
	flags.StringArrayVar(&f.to, "to", nil, "of e-mail: `ADDRESS` of a recipient; may be given several times")
	flags.StringVar(&f.from, "from", "", "of e-mail: `ADDRESS` of the sender")
	flags.StringVar(&f.user, "user", "", "name to sign in with at the target")
	flags.BoolVar(&f.secret, "secret", false, "give it a secret, which is typed: "+
		"the key that signs webhooks, the password of e-mail, Alertmanager's bearer token")
	flags.StringVar(&f.secretFile, "secret-file", "", "`FILE` with the secret, or - for standard input")
	flags.BoolVar(&f.disable, "disable", false, "send nothing for now")
}

func (f *channelFlags) apply(a *app, cmd *cobra.Command, one *v1.AlertChannel) (err error) {
	given := cmd.Flags().Changed
	if given("target") {
		one.Target = f.target
	}
	if given("to") {
		one.To = f.to
	}
	if given("from") {
		one.From = f.from
	}
	if given("user") {
		one.User = f.user
	}
	if given("disable") || f.enable {
		one.Disabled = f.disable && !f.enable
	}
	if f.secret || f.secretFile != "" {
		one.Secret, err = a.secret(f.secretFile, "--secret-file", "secret")
	}
	return err
}

func (a *app) channelAdd() *cobra.Command {
	var flags channelFlags
	cmd := &cobra.Command{
		Use: "add NAME --kind KIND --target URL", Short: "Add a place where alerts are told", Args: need("NAME"),
		Example: `  probity alert channel add am --kind alertmanager --target https://alertmanager.example:9093
  probity alert channel add hook --kind webhook --target https://hooks.example/probity --secret
  probity alert channel add siem --kind syslog --target tls://siem.example:6514
  probity alert channel add mail --kind email --target smtps://mail.example:465 --user probity --secret \
      --from probity@example.com --to noc@example.com`,
	}
	cmd.Flags().StringVar(&flags.kind, "kind", "", "alertmanager, webhook, syslog or email")
	_ = cmd.RegisterFlagCompletionFunc("kind", fixed(channelKinds...))
	flags.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case !slices.Contains(channelKinds, flags.kind):
			return usagef(cmd, "--kind %q: want alertmanager, webhook, syslog or email", flags.kind)
		case flags.target == "":
			return usagef(cmd, "--target is missing")
		case flags.kind == "email" && (len(flags.to) == 0 || flags.from == ""):
			return usagef(cmd, "e-mail needs --from and --to")
		}
		in := v1.AlertChannel{Name: args[0], Kind: flags.kind}
		if err := flags.apply(a, cmd, &in); err != nil {
			return err
		}
		return a.saveChannel(cmd.Context(), http.MethodPost, channelsPath, in, "added")
	}
	return cmd
}

func (a *app) saveChannel(ctx context.Context, method, path string, in v1.AlertChannel, done string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var out v1.AlertChannel
	if err := c.call(ctx, method, path, nil, in, &out); err != nil {
		return err
	}
	a.say("%s channel %s; try it: probity alert channel test %s", done, out.Name, out.ID)
	return a.print(out, func(w io.Writer) error { return a.writeChannels(w, []v1.AlertChannel{out}) })
}

func (a *app) channelSet() *cobra.Command {
	var flags channelFlags
	var name string
	cmd := &cobra.Command{
		Use: "set CHANNEL", Short: "Change a channel, by its name or id; what is not given stays, its secret too",
		Args:              need("CHANNEL"),
		ValidArgsFunction: first(a.completeChannels),
	}
	flags.register(cmd)
	enableFlag(cmd, &flags.enable, &flags.disable, "send again")
	cmd.Flags().StringVar(&name, "name", "", "give it this name")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, args []string) error {
		one, err := c.channel(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if name != "" {
			one.Name = name
		}
		if err := flags.apply(a, cmd, &one); err != nil {
			return err
		}
		return a.saveChannel(cmd.Context(), http.MethodPut, channelPath(one.ID), one, "changed")
	})
	return cmd
}

func (a *app) channelRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove CHANNEL", Short: "Remove a channel, by its name or id", Args: need("CHANNEL"),
		ValidArgsFunction: first(a.completeChannels),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, args []string) error {
		one, err := c.channel(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.remove(cmd.Context(), yes, channelPath(one.ID), "channel "+one.Name)
	})
	return cmd
}

func (a *app) channelTest() *cobra.Command {
	return &cobra.Command{
		Use: "test CHANNEL", Short: "Send a test alert through a channel", Args: need("CHANNEL"),
		ValidArgsFunction: first(a.completeChannels),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			one, err := c.channel(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var d v1.Delivery
			if err := c.call(cmd.Context(), http.MethodPost, channelPath(one.ID)+"/test", nil, nil, &d); err != nil {
				return err
			}
			if err := a.print(d, func(w io.Writer) error { return a.writeDeliveries(w, []v1.Delivery{d}) }); err != nil {
				return err
			}
			if d.State != "sent" {
				return fmt.Errorf("the test did not get through %s: %s", one.Name, safe(d.Error))
			}
			a.say("the test got through %s", one.Name)
			return nil
		}),
	}
}

func (a *app) completeChannels(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, channelsPath, nil, func(list v1.AlertChannels) (out []string) {
		for _, one := range list.Channels {
			out = append(out, cmp.Or(offer(one.Name, one.Kind+" "+one.Target), offer(one.ID, one.Name)))
		}
		return out
	})(cmd, args, typed)
}
