package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// contextDocument is a context without the secret of its token.
type contextDocument struct {
	Name          string `json:"name"`
	Current       bool   `json:"current"`
	URL           string `json:"url"`
	CAFingerprint string `json:"ca_fingerprint,omitempty"`
	Tenant        string `json:"tenant,omitempty"`
	Token         string `json:"token_id,omitempty"`
	Certificate   string `json:"certificate,omitempty"`
	File          string `json:"file,omitempty"`
	// Overridden names the variables of the environment that take the place of what the file says.
	Overridden []string `json:"overridden,omitempty"`
}

func documentOf(name string, s settings, file string) contextDocument {
	d := contextDocument{
		Name: name, URL: s.URL, CAFingerprint: s.CAFingerprint, Certificate: s.Certificate, File: file,
	}
	// A token is KIND.TENANT.ID.SECRET: only the secret is one.
	if parts := strings.Split(s.Token, "."); len(parts) == 4 {
		d.Tenant, d.Token = parts[1], parts[2]
	}
	return d
}

func (a *app) contextCommand() *cobra.Command {
	g := group("context", "Verifiers that this tool knows, and which of them it asks",
		a.contextList(), a.contextUse(), a.contextAdd(), a.contextRemove(), a.contextShow())
	g.Long = `Verifiers that this tool knows, and which of them it asks. A context is a verifier's url, the fingerprint of its CA and a
token or client certificate, under a name. They are kept in ~/.config/probity/context.yaml, which nobody else may read. On
the verifier's own machine there is also the context "local", which the verifier made.`
	return g
}

func (a *app) contextList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the contexts; * marks the one in use", Args: need(),
		RunE: func(*cobra.Command, []string) error {
			list, err := contexts(a.context)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				a.say("there are no contexts: see \"probity context add --help\"")
			}
			return a.print(list, func(w io.Writer) error { return a.writeContexts(w, list) })
		},
	}
}

func (a *app) writeContexts(w io.Writer, list []contextDocument) error {
	if len(list) == 0 {
		return nil
	}
	t := a.table("IN USE", "NAME", "URL", "TENANT", "TOKEN", "CERTIFICATE", "+CA FINGERPRINT", "+FILE")
	for _, d := range list {
		use := " "
		if d.Current {
			use = "*"
		}
		t.add(use, d.Name, d.URL, d.Tenant, d.Token, d.Certificate, d.CAFingerprint, d.File)
	}
	return t.write(w)
}

// contexts returns all contexts: the user's, then the verifier's own.
func contexts(asked string) ([]contextDocument, error) {
	user, err := userContexts()
	if err != nil {
		return nil, err
	}
	list := []contextDocument{}
	for _, name := range user.names() {
		list = append(list, documentOf(name, user.Contexts[name], userContext()))
	}
	if _, taken := user.Contexts[localContext]; !taken && userContext() != serverContext {
		if s, _, err := fileSettings(serverContext); err == nil {
			list = append(list, documentOf(localContext, s, serverContext))
		}
	}
	if _, from, err := findSettings(asked); err == nil {
		for i := range list {
			list[i].Current = list[i].Name == from.name && list[i].File == from.file
		}
	}
	return list, nil
}

func (a *app) contextUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Ask this verifier from now on", Args: need("NAME"), ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			user, err := userContexts()
			if err != nil {
				return err
			}
			s, ok := user.Contexts[args[0]]
			if !ok && args[0] == localContext {
				if s, _, err = fileSettings(serverContext); err != nil {
					return fmt.Errorf("there is no verifier on this machine whose context you may read: %w", err)
				}
				ok = true
			}
			if !ok {
				return noContext(args[0], user.names())
			}
			user.Current = args[0]
			if err := user.save(userContext()); err != nil {
				return err
			}
			a.say("%s is in use: %s", args[0], s.URL)
			for _, name := range overriding() {
				a.say("note: %s is set and goes before it", name)
			}
			return nil
		},
	}
}

func noContext(name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("there is no context %q: see \"probity context add\"", name)
	}
	return fmt.Errorf("there is no context %q; there are: %s", name, strings.Join(known, ", "))
}

// overriding returns the variables that are set and take the place of what a context says.
func overriding() []string {
	var out []string
	for _, name := range []string{
		"PROBITY_CONTEXT", "PROBITY_URL", "PROBITY_CA_FINGERPRINT", "PROBITY_TOKEN", "PROBITY_CERTIFICATE", "PROBITY_KEY",
	} {
		if os.Getenv(name) != "" {
			out = append(out, name)
		}
	}
	return out
}

func (a *app) contextRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a context; its token stays valid at the verifier", Args: need("NAME"),
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			user, err := userContexts()
			if err != nil {
				return err
			}
			if _, ok := user.Contexts[args[0]]; !ok {
				return noContext(args[0], user.names())
			}
			delete(user.Contexts, args[0])
			if user.Current == args[0] {
				user.Current = ""
			}
			if err := user.save(userContext()); err != nil {
				return err
			}
			a.say("removed %s; its token is still valid: \"probity token revoke\" ends it", args[0])
			if user.Current == "" && len(user.Contexts) > 1 {
				a.say("no context is in use now: see \"probity context use\"")
			}
			return nil
		},
	}
}

func (a *app) contextShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "Show a context, or what is in use", ValidArgsFunction: a.completeContexts,
		Args: need("[NAME]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d contextDocument
			if len(args) == 1 {
				s, from, err := savedSettings(args[0])
				if err != nil {
					return err
				}
				d = documentOf(from.name, s, from.file)
			} else {
				s, from, err := findSettings(a.context)
				if err != nil {
					return err
				}
				if s == (settings{}) {
					return s.check()
				}
				d = documentOf(from.name, s, from.file)
				d.Current = true
				d.Overridden = slices.DeleteFunc(overriding(), func(name string) bool { return name == "PROBITY_CONTEXT" })
			}
			return a.print(d, func(w io.Writer) error {
				_, err := io.WriteString(w, lineText([]line{
					{"name", d.Name},
					{"url", d.URL},
					{"CA fingerprint", d.CAFingerprint},
					{"tenant", d.Tenant},
					{"token", d.Token},
					{"certificate", d.Certificate},
					{"file", d.File},
					{"overridden by", strings.Join(d.Overridden, ", ")},
				}))
				return err
			})
		},
	}
}

func (a *app) contextAdd() *cobra.Command {
	var s settings
	var from, tokenFile string
	var replace, use, unchecked bool
	cmd := &cobra.Command{
		Use: "add NAME --url URL", Short: "Add a verifier", Args: need("NAME"),
		Long: `Add a verifier. The token is read from a file, or typed; it is no argument, because all users of a machine see those. The
verifier is asked once whether it accepts it. The first context is the one in use; see also "probity context use".`,
		Example: `  probity context add lagos --url https://verifier.lagos.example:8443 --ca-fingerprint sha256:4f1e...
  probity context add lagos-me --url https://verifier.lagos.example:8443 --ca-fingerprint sha256:4f1e... \
      --certificate ada.crt --key ada.key
  probity context add lab --from operator.yaml
  echo "$TOKEN" | probity context add lab --url https://10.0.0.7:8443 --ca-fingerprint sha256:4f1e... --token-file -`,
	}
	f := cmd.Flags()
	f.StringVar(&s.URL, "url", "", "`URL` of the verifier, such as https://verifier.example:8443")
	f.StringVar(&s.CAFingerprint, "ca-fingerprint", "", "sha256:... as the verifier prints it (default: the system's CAs)")
	f.StringVar(&tokenFile, "token-file", "", "`FILE` with the token, or - for standard input (default: it is typed)")
	f.StringVar(&s.Certificate, "certificate", "", "`FILE` with a client certificate (PEM) of your account, instead of a token")
	f.StringVar(&s.Key, "key", "", "`FILE` with its private key (PEM)")
	f.StringVar(&from, "from", "", "take all of it from this `FILE`, such as a verifier's operator.yaml")
	f.BoolVar(&replace, "replace", false, "replace the context of this name")
	f.BoolVar(&use, "use", false, "use it from now on")
	f.BoolVar(&unchecked, "no-check", false, "do not ask the verifier")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := args[0]
		if err := checkContextName(name); err != nil {
			return usagef(cmd, "%v", err)
		}
		switch {
		case from == "" && s.URL == "":
			return usagef(cmd, "--url is missing")
		case from != "" && (s != settings{} || tokenFile != ""):
			return usagef(cmd, "--from takes everything from the file: leave the other flags out")
		case s.Certificate != "" && tokenFile != "":
			return usagef(cmd, "give --token-file or --certificate, not both")
		}
		user, err := userContexts()
		if err != nil {
			return err
		}
		if _, taken := user.Contexts[name]; taken && !replace {
			return fmt.Errorf("there is a context %q: give another name, or --replace", name)
		}
		switch {
		case from != "":
			s, _, err = fileSettings(from)
		case s.Certificate == "":
			s.Token, err = a.secret(tokenFile, "--token-file", "token")
		}
		if err = errors.Join(err, absolutePaths(&s.Certificate, &s.Key)); err != nil {
			return err
		}
		if err := s.check(); err != nil {
			return err
		}
		if !unchecked {
			if err := a.greet(cmd.Context(), s); err != nil {
				return fmt.Errorf("%w\nnothing was added; --no-check adds it all the same", err)
			}
		}
		if user.Contexts == nil {
			user.Contexts = map[string]settings{}
		}
		user.Contexts[name] = s
		if use || len(user.Contexts) == 1 {
			user.Current = name
		}
		if err := user.save(userContext()); err != nil {
			return err
		}
		a.say("added %s to %s", name, userContext())
		if user.Current == name {
			a.say("%s is in use", name)
		}
		return nil
	}
	return cmd
}

// absolutePaths makes files found from any directory.
func absolutePaths(names ...*string) (err error) {
	for _, name := range names {
		if *name != "" {
			if *name, err = filepath.Abs(*name); err != nil {
				return err
			}
		}
	}
	return nil
}

// greet asks a verifier who one is to it.
func (a *app) greet(ctx context.Context, s settings) error {
	c, err := newClient(s)
	if err != nil {
		return err
	}
	var me v1.Me
	err = c.call(ctx, http.MethodGet, "/v1/me", nil, nil, &me)
	if isMissing(err) { // a verifier without roles: whoever may count devices is let in
		var counts v1.Counts
		if err := c.call(ctx, http.MethodGet, "/v1/counts", nil, nil, &counts); err != nil {
			return err
		}
		a.say("%s accepts the token", s.URL)
		return nil
	}
	if err != nil {
		var e *exit
		if errors.As(err, &e) && e.code == exitUnauthorised {
			return &exit{exitUnauthorised, fmt.Errorf("%s: %w", s.URL, err)}
		}
		return err
	}
	a.say("%s knows you as %s, %s of %s", s.URL, me.Name, me.Role, me.Tenant)
	return nil
}
