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
	colour  bool
}

const long = `probity asks a verifier what devices run and whether it is what it should be.

Data goes to stdout, messages to stderr. Exit codes:
  0  done; the device is trusted
  1  something failed
  2  the command line is wrong
  3  the device is not trusted: untrusted or warning
  4  the verifier did not accept the token
  5  nothing can be said of the device: stale, never attested, unsupported or not known

The verifier is named in a YAML file with url, ca_fingerprint and token: --context, or PROBITY_CONTEXT, or
~/.config/probity/context.yaml, or, on the verifier's machine, /var/lib/probity-verifier/operator.yaml. PROBITY_URL,
PROBITY_CA_FINGERPRINT and PROBITY_TOKEN override what the file says.`

// run runs the command line args. It has written its errors to stderr; exitCode tells the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, colour: wantColour(stdout)}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var e *exit
	if err != nil && (!errors.As(err, &e) || e.cause != nil) {
		fmt.Fprintln(stderr, "probity: "+safeLines(err.Error()))
	}
	return err
}

func (a *app) root() *cobra.Command {
	root := group("probity", "Ask a verifier what devices run", a.logCommand(), a.imaCommand(), a.deviceCommand(), a.explainCommand(),
		a.manifestCommand(), a.vendorCommand(), a.denylistCommand(), a.outliersCommand(), a.baselineCommand(),
		a.policyCommand(), a.tokenCommand(), a.eventsCommand(), a.keyCommand(), a.imageCommand(), a.versionCommand())
	root.Long = long
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "table, json or yaml")
	root.PersistentFlags().StringVar(&a.context, "context", "", "`FILE` that names the verifier")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%v", err) })
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		switch a.output {
		case "table", "json", "yaml":
			return nil
		case diagnostic:
			if _, ok := cmd.Annotations[diagnostic]; ok {
				return nil
			}
		}
		return usagef(cmd, "-o %q: want table, json or yaml", a.output)
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

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Name() != "null"
}

// say writes a message for people.
func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.stderr, safeLines(fmt.Sprintf(format, args...)))
}
