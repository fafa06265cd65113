package main

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

const (
	completionTimeout = 3 * time.Second // of one question to the verifier: somebody waits with the tab key down
	mostCompletions   = 50
)

// completer offers values for what somebody is typing.
type completer = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// harmlessWord is what shells take as it is. What devices and vendors call themselves may be anything: names with other
// characters are never offered.
var harmlessWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@+-]*$`)

// offer returns a value with what it stands for, empty if it is not to be offered. Descriptions are shown on the
// terminal: they are escaped.
func offer(value, description string) string {
	if !harmlessWord.MatchString(value) {
		return ""
	}
	return value + "\t" + clip(safe(description), 60)
}

// offers drops what is empty or does not begin with what was typed.
func offers(typed string, list []string) ([]string, cobra.ShellCompDirective) {
	list = slices.DeleteFunc(list, func(s string) bool { return s == "" || !strings.HasPrefix(s, typed) })
	return list, cobra.ShellCompDirectiveNoFileComp
}

// fixed offers fixed values.
func fixed(list ...string) completer {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return offers(typed, slices.Clone(list))
	}
}

// first offers values for the first argument only.
func first(f completer) completer {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, typed)
	}
}

// completesArguments gives every command below one what completes its first argument, by the argument's name.
func (a *app) completesArguments(cmd *cobra.Command) {
	for name, f := range map[string]completer{
		" DEVICE": a.completeDevices, " MANIFEST": a.completeManifests,
	} {
		if cmd.ValidArgsFunction == nil && strings.Contains(cmd.Use, name) {
			cmd.ValidArgsFunction = first(f)
		}
	}
	for _, sub := range cmd.Commands() {
		a.completesArguments(sub)
	}
}

// asked offers what the verifier answers; without an answer, nothing: a completion has no place for errors.
func asked[T any](a *app, path string, query url.Values, read func(T) []string) completer {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		c, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		answer, err := fetch[T](ctx, c, path, query)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offers(typed, read(answer))
	}
}

// completeDevices offers devices by label and by the start of their id.
func (a *app) completeDevices(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	query := url.Values{"limit": {strconv.Itoa(mostCompletions)}}
	if typed != "" {
		query.Set("q", typed)
	}
	return asked(a, "/v1/devices", query, func(list v1.Devices) (out []string) {
		for _, d := range list.Devices {
			about := strings.TrimSpace(string(d.State) + " " + d.Vendor + " " + d.Model)
			byLabel := offer(d.Label, about)
			if byLabel != "" {
				out = append(out, byLabel)
			}
			if byLabel == "" || typed != "" {
				out = append(out, offer(d.ID[:min(len(d.ID), max(shortID, len(typed)))], about))
			}
		}
		return out
	})(cmd, args, typed)
}

func (a *app) completeManifests(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, "/v1/manifests", nil, func(list v1.Manifests) (out []string) {
		for _, m := range list.Manifests {
			out = append(out, offer(m.Name, strings.TrimSpace(m.State+" "+m.Vendor+" "+m.Model+" "+m.Version)))
		}
		return out
	})(cmd, args, typed)
}

func (a *app) completeBaselines(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, "/v1/baselines", nil, func(list v1.Baselines) (out []string) {
		for _, b := range list.Baselines {
			if b.Retired == nil {
				out = append(out, offer(b.Name, "baseline of "+stamp(&b.Created)))
			}
		}
		return out
	})(cmd, args, typed)
}

func (a *app) completeTokens(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, "/v1/tokens", nil, func(list v1.Tokens) (out []string) {
		for _, t := range list.Tokens {
			if state := tokenState(t, time.Now()); state == "valid" {
				out = append(out, offer(t.ID, "until "+stamp(&t.Expires)))
			}
		}
		return out
	})(cmd, args, typed)
}

func (a *app) completeKeys(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, "/v1/vendors", nil, func(list v1.VendorKeys) (out []string) {
		for _, k := range list.Keys {
			out = append(out, offer(shortKey(k.ID), k.Name+" ("+k.Role+")"))
		}
		return out
	})(cmd, args, typed)
}

func (a *app) completeAccounts(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, "/v1/accounts", nil, func(list v1.Accounts) (out []string) {
		for _, one := range list.Accounts {
			out = append(out, offer(one.Name, string(one.Role)))
		}
		return out
	})(cmd, args, typed)
}

func (a *app) completeContexts(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	list, err := contexts("")
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, d := range list {
		out = append(out, offer(d.Name, d.URL))
	}
	return offers(typed, out)
}
