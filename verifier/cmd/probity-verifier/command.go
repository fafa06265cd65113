package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/proto/daemon"
	"github.com/probity-attest/probity/verifier"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2 // wrong usage or configuration: starting again does not help
)

// usageError is an error in how the program was called or configured.
type usageError struct{ error }

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil, ctx.Err() != nil && errors.Is(err, context.Canceled): // stopped, if only while it was starting
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "probity-verifier: %v\nSee probity-verifier --help\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "probity-verifier: %v\n", err)
	return exitError
}

// command is what all subcommands share.
type command struct {
	cfg    verifier.Config
	file   string
	stdout io.Writer
	stderr io.Writer
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	c := &command{cfg: verifier.DefaultConfig(), stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "probity-verifier",
		Short: "Verify what devices run, from evidence",
		Long: `probity-verifier receives evidence from devices over MQTT, appraises it against reference values and
publishes signed results. Started without anything, it makes its keys and database, and prints the one line
that enrols a device.

Configuration: file (--config) < environment (` + verifier.EnvPrefix + `...) < flags.
Exit codes: 0 ended as asked, 1 failure, 2 wrong usage or configuration.`,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return c.serve(cmd) },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&c.file, "config", "", "YAML configuration file")
	daemon.AddFlags(root.PersistentFlags(), &c.cfg)
	root.AddCommand(c.configCommand(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, buildVersion())
			return err
		},
	})
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command or argument %q for %q", args[0], cmd.CommandPath())}
	}
	return nil
}

// load reads the configuration, file < environment < flags, and checks it.
func (c *command) load(cmd *cobra.Command) error {
	err := daemon.Load(&c.cfg, daemon.Source{
		File: c.file, EnvPrefix: verifier.EnvPrefix, Flags: cmd.Flags(),
		Warn: func(s string) { fmt.Fprintln(c.stderr, "probity-verifier: warning: "+s) },
	})
	if err == nil {
		err = c.cfg.Check()
	}
	if err != nil {
		return usageError{err}
	}
	return nil
}

func (c *command) serve(cmd *cobra.Command) error {
	if err := c.load(cmd); err != nil {
		return err
	}
	verifier.TuneGC()
	log, err := daemon.Logger(c.stderr, c.cfg.Log.Format, c.cfg.Log.Level)
	if err != nil {
		return err
	}
	v, err := verifier.New(cmd.Context(), c.cfg, buildVersion(), log)
	if err != nil {
		return err
	}
	return v.Run(cmd.Context(), c.stdout)
}

func (c *command) configCommand() *cobra.Command {
	group := &cobra.Command{
		Use: "config", Short: "Check, show or explain the configuration", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	group.AddCommand(
		&cobra.Command{
			Use: "check", Short: "Check the configuration and exit: 0 when it is correct", Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if err := c.load(cmd); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.stdout, "configuration is correct")
				return err
			},
		},
		&cobra.Command{
			Use: "show", Short: "Print the configuration in force as YAML", Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if err := c.load(cmd); err != nil {
					return err
				}
				text, err := daemon.Show(&c.cfg)
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(c.stdout, text)
				return err
			},
		},
		&cobra.Command{
			Use: "help", Short: "Explain every key with its default, environment variable and flag", Args: noArgs,
			RunE: func(*cobra.Command, []string) error {
				defaults := verifier.DefaultConfig()
				_, err := fmt.Fprint(c.stdout, daemon.Describe(&defaults, verifier.EnvPrefix))
				return err
			},
		},
	)
	return group
}
