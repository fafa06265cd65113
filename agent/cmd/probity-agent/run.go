package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/pflag"

	"github.com/probity-attest/probity/agent"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/proto/daemon"
)

// defaultConfig is read where no --config is given and it exists.
const defaultConfig = "/etc/probity/agent.yaml"

// memoryLimit is the soft limit of the Go heap, in bytes, unless GOMEMLIMIT says otherwise: twice the largest content
// that is ever held, so that a report never swaps out what the device is there for.
const memoryLimit = 40 << 20

const usage = `probity-agent reports from a device what it booted and runs, signed by its TPM, to a verifier.

Usage:
  probity-agent run [--once [--timeout 2m]]   report to the verifier; --once: once, with the verdict as exit code
  probity-agent show [-o json]                print what would leave this device, once flash is read; contacts nobody
  probity-agent config check                  check the configuration
  probity-agent config show                   print the configuration in force, without secrets
  probity-agent config help                   explain every key
  probity-agent version                       print the version

The first start needs what the verifier prints:
  probity-agent run --verifier mqtts://HOST:8883 --ca-fingerprint sha256:... --token pbt1....

Exit codes: 0 success (--once: trusted), 1 failure, 2 usage or configuration, 3 warning or untrusted,
5 no verdict on the state (unsupported, stale, never attested)

Configuration: ` + defaultConfig + ` if it exists, then environment (` + agent.EnvPrefix + `...), then flags:
`

// invocation is one call of the program.
type invocation struct {
	cfg            agent.Config
	flags          *pflag.FlagSet
	file, output   string
	once, help     bool
	timeout        time.Duration
	stdout, stderr io.Writer
}

// usageError is a mistake of the caller.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// verdictError carries the verdict of run --once that is not "trusted".
type verdictError struct{ receipt *proto.Receipt }

func (e *verdictError) Error() string {
	s := "this device is " + e.receipt.State
	for _, r := range e.receipt.Reasons {
		s += "\n  " + r
	}
	return s
}

// exitCode prints err and turns it into the exit code that the package comment promises.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "probity-agent:", err)
	var wrong *usageError
	var verdict *verdictError
	switch {
	case errors.As(err, &wrong):
		return 2
	case errors.As(err, &verdict) && (verdict.receipt.State == "warning" || verdict.receipt.State == "untrusted"):
		return 3
	case errors.As(err, &verdict):
		return 5
	}
	return 1
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	i := &invocation{cfg: agent.Default(), stdout: stdout, stderr: stderr}
	i.flags = pflag.NewFlagSet("probity-agent", pflag.ContinueOnError)
	i.flags.SetOutput(io.Discard)
	i.flags.StringVar(&i.file, "config", "", "configuration file (default "+defaultConfig+" if it exists)")
	i.flags.BoolVar(&i.once, "once", false, "run: report once and exit with the verdict")
	i.flags.DurationVar(&i.timeout, "timeout", 2*time.Minute, "run --once: how long to wait for the verdict")
	i.flags.StringVarP(&i.output, "output", "o", "text", "show: text or json")
	i.flags.BoolVarP(&i.help, "help", "h", false, "print this help")
	daemon.AddFlags(i.flags, &i.cfg)
	if err := i.flags.Parse(args); err != nil {
		return &usageError{fmt.Errorf("%w; see probity-agent --help", err)}
	}
	if i.help {
		fmt.Fprint(stdout, usage, i.flags.FlagUsages())
		return nil
	}
	words := i.flags.Args()
	command := ""
	if len(words) > 0 {
		command, words = words[0], words[1:]
	}
	if command == "config" && len(words) > 0 {
		command, words = "config "+words[0], words[1:]
	}
	if len(words) > 0 {
		return &usageError{fmt.Errorf("unexpected argument %q; see probity-agent --help", words[0])}
	}
	return i.do(ctx, command)
}

func (i *invocation) do(ctx context.Context, command string) error {
	switch command {
	case "version":
		fmt.Fprintln(i.stdout, "probity-agent", version, buildInfo())
		return nil
	case "config help":
		fmt.Fprint(i.stdout, daemon.Describe(&i.cfg, agent.EnvPrefix))
		return nil
	case "config check", "config show", "run", "show":
	default:
		known := []string{"run", "show", "config check", "config show", "config help", "version"}
		return &usageError{fmt.Errorf("unknown command %q%s; see probity-agent --help",
			command, daemon.DidYouMean(command, known))}
	}
	if err := i.load(); err != nil {
		return &usageError{err}
	}
	switch command {
	case "config check":
		if err := i.cfg.CheckLink(); err != nil {
			return &usageError{err}
		}
		fmt.Fprintln(i.stdout, "configuration is correct")
		return nil
	case "config show":
		s, err := daemon.Show(&i.cfg)
		if err != nil {
			return err
		}
		fmt.Fprint(i.stdout, s)
		return nil
	}
	limitResources()
	log, err := daemon.Logger(i.stderr, i.cfg.Log.Format, i.cfg.Log.Level)
	if err != nil {
		return &usageError{err}
	}
	if command == "run" {
		if err := i.cfg.CheckLink(); err != nil {
			return &usageError{err}
		}
	}
	a, err := agent.Open(i.cfg, version, log)
	if err != nil {
		return err
	}
	if command == "show" {
		err = i.show(ctx, a)
	} else {
		err = i.report(ctx, a)
	}
	return errors.Join(err, a.Close())
}

// load reads the configuration.
func (i *invocation) load() error {
	file := i.file
	if file == "" {
		if _, err := os.Stat(defaultConfig); err == nil {
			file = defaultConfig
		}
	}
	err := daemon.Load(&i.cfg, daemon.Source{
		File: file, EnvPrefix: agent.EnvPrefix, Flags: i.flags,
		Warn: func(s string) { fmt.Fprintln(i.stderr, "probity-agent: warning:", s) },
	})
	if err != nil {
		return err
	}
	return i.cfg.Check()
}

func (i *invocation) show(ctx context.Context, a *agent.Agent) error {
	s, err := a.Show(ctx)
	if err != nil {
		return err
	}
	switch i.output {
	case "text":
		return s.Write(i.stdout)
	case "json":
		e := json.NewEncoder(i.stdout)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	return &usageError{fmt.Errorf("output %q: want text or json", i.output)}
}

func (i *invocation) report(ctx context.Context, a *agent.Agent) error {
	if !i.once {
		return a.Run(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, i.timeout, fmt.Errorf("timeout of %s", i.timeout))
	defer cancel()
	r, err := a.Once(ctx)
	if err != nil {
		return err
	}
	if r.State != "trusted" {
		return &verdictError{r}
	}
	fmt.Fprintln(i.stdout, "this device is trusted")
	return nil
}

// limitResources keeps the agent small beside what the device is there for. What the environment says has precedence.
func limitResources() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	smallPages()
}
