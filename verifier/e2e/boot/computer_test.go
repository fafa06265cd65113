//go:build linux

package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier"
	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
	"github.com/probity-attest/probity/verifier/e2e/world"
	"github.com/probity-attest/probity/verifier/result"
)

// stateDir is the agent's in the guests: on a tmpfs, at which IMA's policy tcb does not look. Here the agent is root, and
// of root that policy measures every file that is read; every device has another certificate.
const stateDir = "/tmp/probity-agent"

// attestTime bounds one attestation in an emulated machine.
const attestTime = 3 * time.Minute

// newWorld starts a verifier that guests reach.
func newWorld(t *testing.T, change func(*verifier.Config)) *world.World {
	t.Helper()
	return world.New(t, func(c *verifier.Config) {
		c.Hosts = []string{machine.HostAddress, "127.0.0.1"}
		if change != nil {
			change(c)
		}
	})
}

// computer is a machine with its own TPM and disk: what stays the same from boot to boot. Its agent's folder is kept
// here between boots, since the guest's root file system is in memory.
type computer struct {
	t     *testing.T
	w     *world.World
	spec  machine.Spec
	flags []string // of the agent
	id    string
	disk  map[string][]byte // files of stateDir
	m     *machine.Machine
}

// newComputer makes a computer; a machine with a TPM gets one of its own, certified by the world's TPM maker.
func newComputer(t *testing.T, w *world.World, s machine.Spec, banks ...pcr.Algorithm) *computer {
	t.Helper()
	c := &computer{t: t, w: w, spec: s}
	if s.TPM != machine.NoTPM {
		c.spec.TPMState = filepath.Join(t.TempDir(), "tpm")
		err := machine.Manufacture(t.Context(), c.spec.TPMState, w.CA, tpmtest.P256, banks...)
		var missing *machine.MissingError
		if errors.As(err, &missing) {
			t.Skipf("no real boot: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	} else {
		c.flags = append(c.flags, "--identity", "software")
	}
	return c
}

// boot switches the computer on, off before if it runs. The machine ends with the test.
func (c *computer) boot() *machine.Machine {
	c.t.Helper()
	m, err := c.tryBoot()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *computer) tryBoot() (*machine.Machine, error) {
	c.t.Helper()
	c.off()
	m, err := start(c.t, context.WithoutCancel(c.t.Context()), c.spec)
	if err != nil {
		return nil, err
	}
	c.m = m
	c.t.Cleanup(m.Stop)
	for name, b := range c.disk {
		if err := m.WriteFile(c.ctx(), path.Join(stateDir, name), b, 0o600); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// off shuts the computer down in order.
func (c *computer) off() {
	c.t.Helper()
	if c.m == nil {
		return
	}
	if err := c.m.PowerOff(c.ctx()); err != nil {
		c.t.Error(err)
	}
	c.m.Stop()
	c.m = nil
}

// ctx bounds what is asked of the machine.
func (c *computer) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), attestTime)
	c.t.Cleanup(cancel)
	return ctx
}

// agent runs a command of the agent in the guest.
func (c *computer) agent(args ...string) *guest.Output {
	c.t.Helper()
	out, err := c.m.Run(c.ctx(), guest.Run{Args: c.command(args...), Timeout: attestTime})
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *computer) command(args ...string) []string {
	_, port, err := net.SplitHostPort(c.w.Config.MQTT.Listen)
	if err != nil {
		c.t.Fatal(err)
	}
	args = append([]string{image.AgentPath}, args...)
	return append(append(args, "--verifier", "mqtts://"+net.JoinHostPort(machine.HostAddress, port),
		"--ca-fingerprint", c.w.Fingerprint, "--token", c.w.Token, "--state-dir", stateDir), c.flags...)
}

// identify asks the agent who it is.
func (c *computer) identify() {
	c.t.Helper()
	if c.id != "" {
		return
	}
	out := c.agent("show", "-o", "json")
	var shown struct {
		Device string `json:"device"`
	}
	if err := json.Unmarshal(out.Stdout, &shown); err != nil || shown.Device == "" {
		c.t.Fatalf("probity-agent show: exit code %d, %v\n%s%s", out.Exit, err, out.Stdout, out.Stderr)
	}
	c.id = shown.Device
}

// exits are the agent's exit codes for the states.
var exits = map[result.State]int{
	result.Trusted: 0, result.Warning: 3, result.Untrusted: 3, result.Unsupported: 5,
}

// attest has the agent report once and returns the verifier's result, which must be of this state.
func (c *computer) attest(want result.State) result.Result {
	c.t.Helper()
	c.identify()
	out := c.agent("run", "--once", "--timeout", attestTime.String())
	c.keep()
	if out.Exit != exits[want] {
		c.t.Fatalf("the agent exits with %d, want %d (%s):\n%s%s", out.Exit, exits[want], want, out.Stdout, out.Stderr)
	}
	r := c.w.Newest(c.id).Result
	if r.State != want {
		c.t.Fatalf("state = %s, want %s; findings:\n%s", r.State, want, lines(r.Findings))
	}
	return r
}

// keep saves the agent's folder, which is on a disk in real life.
func (c *computer) keep() {
	c.t.Helper()
	entries, err := c.m.List(c.ctx(), stateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.t.Fatal(err)
	}
	c.disk = make(map[string][]byte)
	for _, e := range entries {
		if c.disk[e.Name], err = c.m.ReadFile(c.ctx(), path.Join(stateDir, e.Name)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// run runs a program in the guest that must succeed.
func (c *computer) run(args ...string) {
	c.t.Helper()
	out, err := c.m.Run(c.ctx(), guest.Run{Args: args, Timeout: attestTime})
	if err != nil {
		c.t.Fatal(err)
	}
	if out.Exit != 0 {
		c.t.Fatalf("%s: exit code %d\n%s%s", strings.Join(args, " "), out.Exit, out.Stdout, out.Stderr)
	}
}

// golden boots a computer that its operator trusts, uses it as others are used, and makes its reference values.
func (c *computer) golden(name string) {
	c.t.Helper()
	c.boot()
	c.run(toolPath, "version")
	c.attest(result.Unsupported)
	c.w.Baseline(c.id, name)
}

func lines(fs []result.Finding) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "  %s %s: %s\n", f.Severity, f.Code, f.Line())
	}
	return b.String()
}

// wantFindings checks that r has exactly these findings besides those of severity info: "CODE COMPONENT" each, where
// the component may go on.
func wantFindings(t *testing.T, r result.Result, want ...string) {
	t.Helper()
	var got []string
	for _, f := range r.Findings {
		if f.Severity != result.Info {
			got = append(got, f.Code+" "+f.Component)
		}
	}
	left := append([]string(nil), want...)
	for _, g := range got {
		found := false
		for i, w := range left {
			if strings.HasPrefix(g, w) {
				left, found = append(left[:i], left[i+1:]...), true
				break
			}
		}
		if !found {
			t.Errorf("finding %q was not expected", g)
		}
	}
	for _, w := range left {
		t.Errorf("no finding %q", w)
	}
	if t.Failed() {
		t.Logf("findings:\n%s", lines(r.Findings))
	}
}
