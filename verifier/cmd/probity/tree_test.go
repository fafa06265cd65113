package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// leaves returns all commands that do something, by their whole name.
func leaves(t *testing.T) map[string]*cobra.Command {
	t.Helper()
	a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	out := map[string]*cobra.Command{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() {
			out[strings.TrimPrefix(c.CommandPath(), "probity ")] = c
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(a.root())
	if len(out) < 80 {
		t.Fatalf("%d commands", len(out))
	}
	return out
}

// atHome are commands that change files of the user and nothing at a verifier, and such that only work something out.
var atHome = []string{
	"manifest create", "manifest import", "manifest sign", "manifest dry-run", "key generate", "context add", "context use",
	"context remove", "policy test",
}

// TestEveryChangeCanBeTried: whatever changes something at a verifier has --dry-run, and nothing else has.
func TestEveryChangeCanBeTried(t *testing.T) {
	verbs := []string{
		"add", "set", "remove", "create", "retire", "revoke", "revoke-key", "approve", "refuse", "label", "attest",
		"capture", "captures", "submit",
		"supersede", "withdraw", "settings", "scope", "ack", "retry", "test", "password",
	}
	for name, c := range leaves(t) {
		want := slices.Contains(verbs, c.Name()) && !slices.Contains(atHome, name)
		_, marked := c.Annotations[changing]
		if got := c.Flags().Lookup("dry-run") != nil; got != want || marked != want {
			t.Errorf("%s: --dry-run %t, marked %t, want %t", name, got, marked, want)
		}
		_, seen := c.Annotations[watched]
		if got := c.Flags().Lookup("watch") != nil; got != seen || seen && want {
			t.Errorf("%s: --watch %t, watched %t, changes %t", name, got, seen, want)
		}
		if c.Name() == "list" && !seen && name != "context list" {
			t.Errorf("%s cannot be watched", name)
		}
	}
}

// TestHelpReadsWell: every command and flag says what it is, in lines that fit.
func TestHelpReadsWell(t *testing.T) {
	for name, c := range leaves(t) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || strings.ToUpper(c.Short[:1]) != c.Short[:1] {
			t.Errorf("%s: short help %q", name, c.Short)
		}
		for line := range strings.Lines(c.Long) {
			if len(strings.TrimSuffix(line, "\n")) > 126 {
				t.Errorf("%s: help has a line of %d columns: %q", name, len(line), line)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s says nothing", name, f.Name)
			}
		})
		if strings.Contains(c.Use, "DEVICE") && c.ValidArgsFunction == nil {
			t.Errorf("%s: devices are not completed", name)
		}
	}
}

// TestGroups: every noun stands under a heading of the help.
func TestGroups(t *testing.T) {
	a := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	for _, c := range a.root().Commands() {
		if c.GroupID == "" && c.Name() != "help" {
			t.Errorf("%s has no group", c.Name())
		}
	}
}

func TestHideSecrets(t *testing.T) {
	v := map[string]any{
		"password": "a", "new": "b", "name": "c", "list": []any{map[string]any{"secret": "d", "token": "e"}},
		"code": "boot-event-unknown",
	}
	hideSecrets(v)
	want := "map[code:(hidden) list:[map[secret:(hidden) token:(hidden)]] name:c new:(hidden) password:(hidden)]"
	if got := fmt.Sprint(v); got != want {
		t.Errorf("hideSecrets() = %s, want %s", got, want)
	}
}
