package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/verifier/result"
)

// Exit codes. A script may rely on them.
const (
	exitOK           = 0
	exitError        = 1 // something failed
	exitUsage        = 2 // the command line is wrong
	exitNotTrusted   = 3 // the device is untrusted or has a warning
	exitUnauthorised = 4 // the verifier did not accept the token, or it does not permit this
	exitUnknown      = 5 // nothing can be said of the device: stale, never attested, unsupported, or not known
)

// exit is an error with an exit code of its own. Without a cause it is silent: the output said it all.
type exit struct {
	code  int
	cause error
}

func (e *exit) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *exit) Unwrap() error { return e.cause }

func exitCode(err error) int {
	var e *exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		return e.code
	}
	return exitError
}

func usagef(cmd *cobra.Command, format string, a ...any) error {
	return &exit{exitUsage, fmt.Errorf("%s\nsee %q", fmt.Sprintf(format, a...), cmd.CommandPath()+" --help")}
}

// verdict returns the exit code that a state deserves, as a silent error.
func verdict(s result.State) error {
	switch s {
	case result.Trusted:
		return nil
	case result.Warning, result.Untrusted:
		return &exit{code: exitNotTrusted}
	}
	return &exit{code: exitUnknown}
}

// need checks the number of arguments by their names in the usage line. One in brackets may be left out.
func need(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) && names[len(args)][0] != '[' {
			return usagef(cmd, "%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return usagef(cmd, "unexpected argument %q", args[len(names)])
		}
		return nil
	}
}
