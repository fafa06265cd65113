package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/result"
)

// Times of the demo. A device is stale after staleAfter without evidence, in the field it would be some minutes.
const (
	interval     = time.Second
	staleAfter   = 8 * time.Second
	patience     = 90 * time.Second // for any one step
	pollInterval = 250 * time.Millisecond
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("probity-demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	once := flags.Bool("once", false, "exit by itself: 0 if every verdict is the expected one")
	testdata := flags.String("testdata", "testdata", "folder of the captured logs")
	if flags.Parse(args) != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{out: stdout, started: time.Now()}
	defer d.close()
	err := d.play(ctx, *testdata)
	if err == nil && !*once {
		err = d.stay(ctx)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(stderr, "\nprobity-demo: %v\n", err)
		d.keepLogs(stderr)
		return 1
	}
	if err != nil && *once {
		return 1
	}
	return 0
}

// demo is one run.
type demo struct {
	out      io.Writer
	started  time.Time
	programs programs
	dir      string
	kept     bool
	context  string // the operator's context file
	enrol    []string
	verifier *process
	devices  []*device
}

// device is one role being played.
type device struct {
	role
	id      string
	virtual *virtual.Device
	agent   *process
	options []string // of the agent, beside those that every device's has
	got     verdict
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%6.1fs  %s\n", time.Since(d.started).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) play(ctx context.Context, testdata string) error {
	roles, err := cast(testdata)
	if err != nil {
		return err
	}
	if d.programs, err = findPrograms(); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "probity-demo-"); err != nil {
		return err
	}
	ca, err := tpmtest.NewCA("Acme TPM Works")
	if err != nil {
		return err
	}
	if err := d.startVerifier(ctx, ca); err != nil {
		return err
	}
	d.say("manufacturing and booting %d devices: each a TPM of its own, booted as a captured machine was", len(roles))
	if err := d.startDevices(ctx, ca, roles); err != nil {
		return err
	}
	if err := d.await(ctx, "every device has enrolled and attested", func(dev *device) bool { return dev.got.attested() }); err != nil {
		return err
	}
	if err := d.takeBaseline(ctx); err != nil {
		return err
	}
	if err := d.await(ctx, "every device is compared with the reference values", func(dev *device) bool { return dev.got.State != result.Unsupported }); err != nil {
		return err
	}
	for _, dev := range d.devices {
		if dev.silent {
			d.say("stopping the agent of device %q; it is stale after %s without evidence", dev.name, staleAfter)
			dev.agent.stop()
		}
	}
	err = d.await(ctx, "every verdict is the expected one", (*device).asExpected)
	d.table()
	if err != nil {
		return err
	}
	if err := d.explain(ctx); err != nil {
		return err
	}
	return d.vendorStory(ctx, ca, testdata)
}

// startVerifier starts the verifier on free ports and waits for the one line that it prints for devices.
func (d *demo) startVerifier(ctx context.Context, ca *tpmtest.CA) error {
	state := filepath.Join(d.dir, "verifier")
	roots := filepath.Join(d.dir, "tpm-roots")
	if err := os.MkdirAll(roots, 0o755); err != nil {
		return err
	}
	if err := errors.Join(ca.WriteRoot(roots), ca.WriteIntermediate(roots)); err != nil {
		return err
	}
	line := &firstLine{prefix: "probity-agent run ", found: make(chan string, 1)}
	var err error
	d.verifier, err = start(d.programs.verifier, []string{
		"--state-dir", state, "--mqtt-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--enrollment-tpm-roots", roots,
		"--policy-interval", interval.String(), "--policy-stale-after", staleAfter.String(),
	}, filepath.Join(d.dir, "verifier.log"), line)
	if err != nil {
		return err
	}
	d.context = filepath.Join(state, "operator.yaml")
	select {
	case l := <-line.found:
		d.enrol = strings.Fields(l)[1:]
		d.say("verifier started: broker, SQLite, its own CA. It says how to enrol a device:")
		fmt.Fprintf(d.out, "         %s\n", l)
		return nil
	case <-d.verifier.done:
		return errors.New("the verifier ended")
	case <-time.After(patience):
		return errors.New("the verifier did not start")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *demo) startDevices(ctx context.Context, ca *tpmtest.CA, roles []role) error {
	d.devices = make([]*device, len(roles))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i, r := range roles {
		g.Go(func() error {
			dev := &device{role: r}
			d.devices[i] = dev
			if err := d.startDevice(ctx, gctx, ca, dev); err != nil {
				return fmt.Errorf("device %q: %w", r.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// startDevice starts one; its TPM lives as long as ctx.
func (d *demo) startDevice(ctx, step context.Context, ca *tpmtest.CA, dev *device) error {
	var err error
	if dev.virtual, err = virtual.Start(ctx, filepath.Join(d.dir, dev.name), ca, dev.machine); err != nil {
		return err
	}
	return d.startAgent(step, dev)
}

// startAgent starts a device's agent with the line that the verifier printed.
func (d *demo) startAgent(step context.Context, dev *device) error {
	local := slices.Concat([]string{"--tpm", dev.virtual.TPM.Socket, "--root", dev.virtual.Root, "--state-dir", dev.virtual.StateDir()}, dev.options)
	var shown struct {
		Device string `json:"device"`
	}
	if err := output(step, &shown, d.programs.agent, append([]string{"show", "-o", "json"}, local...)...); err != nil {
		return err
	}
	dev.id = shown.Device
	args := slices.Concat(d.enrol, local, []string{"--min-interval", interval.String()})
	var err error
	dev.agent, err = start(d.programs.agent, args, filepath.Join(d.dir, dev.name+".log"), nil)
	return err
}

// takeBaseline is what an operator does who trusts a device: name the devices, make reference values of the trusted one.
func (d *demo) takeBaseline(ctx context.Context) error {
	for _, dev := range d.devices {
		if err := d.cli(ctx, nil, "device", "label", dev.id, dev.name); err != nil {
			return err
		}
	}
	for _, dev := range d.devices {
		if !dev.golden {
			continue
		}
		d.say("the operator trusts one device: probity baseline create --device %s --name acme-r7-2.4.1", dev.name)
		if err := d.cli(ctx, nil, "baseline", "create", "--device", dev.id, "--name", "acme-r7-2.4.1"); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) cli(ctx context.Context, into any, args ...string) error {
	return output(ctx, into, d.programs.cli, append([]string{"--context", d.context, "-o", "json"}, args...)...)
}

// await polls the verifier, as an operator would, until all devices are as they should be.
func (d *demo) await(ctx context.Context, what string, is func(*device) bool) error {
	deadline := time.After(patience)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		waiting, err := d.refresh(ctx, is)
		if err != nil {
			return err
		}
		if waiting == nil {
			d.say("%s", what)
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("waited %s until %s; device %q is %s: %s", patience, what, waiting.name, waiting.got.State, waiting.got.Reason)
		case <-d.verifier.done:
			return errors.New("the verifier ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refresh asks for all verdicts and returns the first device that is not as it should be.
func (d *demo) refresh(ctx context.Context, is func(*device) bool) (*device, error) {
	var waiting *device
	for _, dev := range d.devices {
		got, err := d.verdict(ctx, dev.id)
		if err != nil {
			return nil, err
		}
		dev.got = got
		if !is(dev) && waiting == nil {
			waiting = dev
		}
	}
	return waiting, nil
}

// stay keeps everything running and tells of changes until the user ends it.
func (d *demo) stay(ctx context.Context) error {
	fmt.Fprintf(d.out, "\nEverything keeps running until Ctrl-C. In another terminal:\n\n"+
		"  export PROBITY_CONTEXT=%s\n  %s device list\n  %s device show backdoor\n\n", d.context, d.programs.cli, d.programs.cli)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.verifier.done:
			return errors.New("the verifier ended")
		case <-tick.C:
		}
		was := make([]result.State, len(d.devices))
		for i, dev := range d.devices {
			was[i] = dev.got.State
		}
		if _, err := d.refresh(ctx, func(*device) bool { return true }); err != nil {
			return err
		}
		for i, dev := range d.devices {
			if dev.got.State != was[i] {
				d.say("device %q: %s -> %s: %s", dev.name, was[i], dev.got.State, dev.got.Reason)
			}
		}
	}
}

func (d *demo) keepLogs(w io.Writer) {
	d.kept = d.dir != ""
	if d.kept {
		fmt.Fprintf(w, "logs of all programs are in %s\n", d.dir)
	}
}

func (d *demo) close() {
	for _, dev := range d.devices {
		if dev != nil && dev.agent != nil {
			dev.agent.stop()
		}
	}
	if d.verifier != nil {
		d.verifier.stop()
	}
	for _, dev := range d.devices {
		if dev != nil && dev.virtual != nil {
			_ = dev.virtual.Stop()
		}
	}
	if d.dir != "" && !d.kept {
		_ = os.RemoveAll(d.dir)
	}
}
