package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// maxPublicFile is the largest file of a public key that is read, in bytes.
const maxPublicFile = 8 << 10

func (a *app) vendorCommand() *cobra.Command {
	return group("vendor", "Which keys may sign manifests, for which vendors and models, since when and until when",
		a.writes(a.vendorAdd()), a.reads(a.vendorList()), a.writes(a.vendorScope()), a.writes(a.vendorRevoke()))
}

// scopeFlags are the flags that say what a key may sign.
type scopeFlags struct {
	vendors, models []string
	from, until     string
}

func (s *scopeFlags) register(cmd *cobra.Command, vendors string) {
	f := cmd.Flags()
	f.StringArrayVar(&s.vendors, "vendor", nil, "`PATTERN` of vendors that the key may speak for, such as 'Acme*'; may be given several times"+vendors)
	f.StringArrayVar(&s.models, "model", nil, "`PATTERN` of their models; may be given several times (default: any)")
	f.StringVar(&s.from, "from", "", "`TIME` from which on what it signs is accepted, such as 2026-03-01 or 2026-03-01T12:00:00Z")
	f.StringVar(&s.until, "until", "", "`TIME` from which on it no longer is")
}

func (s *scopeFlags) scope(cmd *cobra.Command) (v1.KeyScope, error) {
	out := v1.KeyScope{Vendors: s.vendors, Models: s.models}
	var err error
	if out.From, err = parseMoment(s.from); err != nil {
		return out, usagef(cmd, "--from: %v", err)
	}
	if out.Until, err = parseMoment(s.until); err != nil {
		return out, usagef(cmd, "--until: %v", err)
	}
	return out, nil
}

// parseMoment reads a day or a time, nil for nothing.
func parseMoment(s string) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			t = t.UTC()
			return &t, nil
		}
	}
	return nil, fmt.Errorf("%q: want a time such as 2026-03-01 or 2026-03-01T12:00:00Z", s)
}

func (a *app) vendorAdd() *cobra.Command {
	var in v1.NewVendorKey
	var scope scopeFlags
	var file string
	cmd := &cobra.Command{
		Use: "add NAME --key FILE", Short: "Let a key of NAME sign manifests", Args: need("NAME"),
	}
	cmd.Flags().StringVar(&file, "key", "", "`FILE` with the public key (PEM), or - for standard input")
	cmd.Flags().StringVar(&in.Role, "role", "vendor", "what NAME is: vendor, lab or builder")
	_ = cmd.RegisterFlagCompletionFunc("role", fixed("vendor", "lab", "builder"))
	scope.register(cmd, " (default: NAME)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return usagef(cmd, "--key is missing")
		}
		if len(scope.vendors) == 0 {
			scope.vendors = []string{args[0]}
		}
		var err error
		if in.Scope, err = scope.scope(cmd); err != nil {
			return err
		}
		key, err := a.readFile(file, maxPublicFile)
		if err != nil {
			return err
		}
		in.Name, in.Public = args[0], string(key)
		c, err := a.client()
		if err != nil {
			return err
		}
		var k v1.VendorKey
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/vendors", nil, in, &k); err != nil {
			return err
		}
		a.say("added key %s of %s", shortKey(k.ID), k.Name)
		return a.print(k, func(w io.Writer) error { return a.writeVendorKeys(w, []v1.VendorKey{k}) })
	}
	return cmd
}

func (a *app) vendorList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the keys that may sign manifests, revoked ones included", Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/vendors", nil, func(w io.Writer, list *v1.VendorKeys) error {
				return a.writeVendorKeys(w, list.Keys)
			})
		},
	}
}

func (a *app) vendorScope() *cobra.Command {
	var scope scopeFlags
	cmd := &cobra.Command{
		Use: "scope KEY --vendor PATTERN", Short: "Replace what a key may sign (KEY: id, its start, or the holder of a single one)",
		Args: need("KEY"), ValidArgsFunction: first(a.completeKeys),
	}
	scope.register(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(scope.vendors) == 0 {
			return usagef(cmd, "--vendor is missing: a scope is replaced as a whole")
		}
		in, err := scope.scope(cmd)
		if err != nil {
			return err
		}
		return a.changeKey(cmd.Context(), args[0], http.MethodPut, "scope", in, "changed the scope of")
	}
	return cmd
}

func (a *app) vendorRevoke() *cobra.Command {
	var in v1.KeyRevocation
	var at string
	cmd := &cobra.Command{
		Use: "revoke-key KEY --reason TEXT", Short: "Void what a key signed or what was submitted with it from a time on, for ever",
		Args: need("KEY"), ValidArgsFunction: first(a.completeKeys),
	}
	cmd.Flags().StringVar(&at, "at", "", "`TIME` since which the key is not to be trusted (default: now)")
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if in.Reason == "" {
			return usagef(cmd, "--reason is missing: others will ask")
		}
		var err error
		if in.At, err = parseMoment(at); err != nil {
			return usagef(cmd, "--at: %v", err)
		}
		return a.changeKey(cmd.Context(), args[0], http.MethodPost, "revoke", in, "revoked")
	}
	return cmd
}

func (a *app) changeKey(ctx context.Context, key, method, what string, in any, done string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var k v1.VendorKey
	if err := c.call(ctx, method, "/v1/vendors/"+url.PathEscape(key)+"/"+what, nil, in, &k); err != nil {
		return missing(err, "key", key, "vendor list")
	}
	a.say("%s key %s of %s", done, shortKey(k.ID), k.Name)
	return a.print(k, func(w io.Writer) error { return a.writeVendorKeys(w, []v1.VendorKey{k}) })
}

// shortKey shortens the id of a key or manifest for people, as far as the verifier still takes it as a name.
func shortKey(id string) string { return id[:min(len(id), 16)] }

func (a *app) writeVendorKeys(w io.Writer, list []v1.VendorKey) error {
	t := a.table("NAME", "ROLE", "KEY", "VENDORS", "MODELS", "FROM", "UNTIL", "REVOKED")
	t.width = textWidth
	for _, k := range list {
		row := []cell{
			{text: k.Name},
			{text: k.Role},
			{text: shortKey(k.ID)},
			{text: strings.Join(k.Vendors, ", ")},
			{text: strings.Join(k.Models, ", ")},
			{text: stamp(k.From)},
			{text: stamp(k.Until)},
			{text: stamp(k.Revoked), colour: red},
		}
		t.rows = append(t.rows, row)
	}
	return t.write(w)
}
