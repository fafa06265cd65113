package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// app is what the commands share.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	output  string // -o
	context string // --context
	dryRun  bool   // --dry-run
	colour  bool
	columns int // of the terminal that stdout is; 0: it is none

	interrupted <-chan struct{} // closed when the person has had enough

	connected *client // made when it is first needed
	document  string  // what was last printed, as JSON: --watch compares it
}

const long = `probity asks a verifier what devices run and whether it is what it should be.

Data goes to stdout, messages to stderr. Exit codes:
  0  done; the device is trusted
  1  something failed
  2  the command line is wrong
  3  the device is not trusted: untrusted or warning
  4  the verifier did not accept the token, or it does not permit this
  5  nothing can be said of the device: stale, never attested, unsupported or not known

Which verifier is asked: the context that --context or PROBITY_CONTEXT names, or the current one ("probity context use"),
or, on the verifier's machine, its own: /var/lib/probity-verifier/operator.yaml. Contexts are kept in
~/.config/probity/context.yaml ("probity context add"). Instead of a name a YAML file with url, ca_fingerprint and token
may be given. PROBITY_URL, PROBITY_CA_FINGERPRINT and PROBITY_TOKEN override what files say, as do PROBITY_CERTIFICATE and
PROBITY_KEY: files of a client certificate instead of a token.

NO_COLOR switches colours off.`

// run runs the command line args. It has written its errors to stderr; exitCode tells the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, colour: wantColour(stdout), interrupted: ctx.Done()}
	a.columns, _ = terminalSize(stdout)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, errDry) {
		return nil
	}
	var e *exit
	if err != nil && (!errors.As(err, &e) || e.cause != nil) {
		fmt.Fprintln(stderr, "probity: "+safeLines(err.Error()))
	}
	return err
}

func (a *app) root() *cobra.Command {
	root := group("probity", "Ask a verifier what devices run")
	for _, part := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Devices:", []*cobra.Command{
			a.deviceCommand(), a.explainCommand(), a.fleetCommand(), a.topCommand(), a.searchCommand(), a.gateCommand(),
			a.outliersCommand(), a.eventsCommand(),
		}},
		{"What is good, and what is bad:", []*cobra.Command{
			a.manifestCommand(), a.vendorCommand(), a.baselineCommand(), a.denylistCommand(), a.policyCommand(),
		}},
		{"The verifier, and who may ask it:", []*cobra.Command{
			a.contextCommand(), a.meCommand(), a.accountCommand(), a.tokenCommand(), a.auditCommand(), a.alertCommand(),
		}},
		{"Without a verifier:", []*cobra.Command{a.logCommand(), a.imaCommand(), a.imageCommand(), a.keyCommand()}},
		{"This tool:", []*cobra.Command{a.completionCommand(), a.manCommand(), a.versionCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: part.title, Title: part.title})
		for _, cmd := range part.commands {
			cmd.GroupID = part.title
		}
		root.AddCommand(part.commands...)
	}
	root.SetHelpCommandGroupID("This tool:")
	a.completesArguments(root)
	root.Long = long
	root.Example = `  probity context add lagos --url https://verifier.lagos.example:8443 --ca-fingerprint sha256:4f1e...
  probity fleet summary
  probity device list --state untrusted
  probity explain edge-7
  probity top`
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "table, wide, json or yaml")
	root.PersistentFlags().StringVar(&a.context, "context", "", "`NAME` of a context, or file that names the verifier")
	_ = root.RegisterFlagCompletionFunc("output", fixed("table", "wide", "json", "yaml"))
	_ = root.RegisterFlagCompletionFunc("context", a.completeContexts)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%v", err) })
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		switch a.output {
		case "table", "wide", "json", "yaml":
			return nil
		case diagnostic:
			if _, ok := cmd.Annotations[diagnostic]; ok {
				return nil
			}
		}
		return usagef(cmd, "-o %q: want table, wide, json or yaml", a.output)
	}
	return root
}

// group returns a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs, SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.SetOut(cmd.ErrOrStderr())
				_ = cmd.Help()
				return &exit{code: exitUsage}
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = ": did you mean " + strings.Join(near, " or ") + "?"
			}
			return usagef(cmd, "%s has no command %q%s", cmd.CommandPath(), args[0], hint)
		},
	}
	g.AddCommand(commands...)
	return g
}

// wantColour reports whether w is a terminal that wants colours (https://no-color.org).
func wantColour(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// say writes a message for people, on one line whatever a name in it holds.
func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.stderr, safe(fmt.Sprintf(format, args...)))
}
