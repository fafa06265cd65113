package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/verifier"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
)

// prompt is how long a failure may take that waiting does not mend, on a busy machine; --timeout is longer.
const prompt = 20 * time.Second

// ended is how a program ended.
type ended struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// agentProgram is the path of the agent's program.
type agentProgram string

func buildAgent(t *testing.T) agentProgram {
	t.Helper()
	return agentProgram(filepath.Join(build(t, "agent/cmd/probity-agent"), "probity-agent"))
}

// run runs a command of the agent, with flags for the device's configuration, to its end.
func (p agentProgram) run(t *testing.T, d *device, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, string(p), append(args,
		"--verifier", d.cfg.Verifier, "--ca-fingerprint", d.cfg.CAFingerprint, "--token", d.cfg.Token,
		"--tpm", d.cfg.TPM, "--root", d.cfg.Root, "--state-dir", d.cfg.StateDir, "--identity", d.cfg.Identity,
	)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(began)}
}

// once attests once and wants this exit code and, on stderr, all of says.
func (p agentProgram) once(t *testing.T, d *device, code int, says ...string) ended {
	t.Helper()
	e := p.run(t, d, "run", "--once", "--timeout", patience.String())
	e.want(t, code, says...)
	return e
}

func (e ended) want(t *testing.T, code int, says ...string) {
	t.Helper()
	if e.code != code {
		t.Errorf("exit code %d, want %d; stdout %q, stderr:\n%s", e.code, code, e.stdout, e.stderr)
	}
	for _, s := range says {
		if !strings.Contains(e.stderr, s) {
			t.Errorf("stderr does not say %q:\n%s", s, e.stderr)
		}
	}
}

// show returns what the agent says would leave the device.
func (p agentProgram) show(t *testing.T, d *device) shown {
	t.Helper()
	e := p.run(t, d, "show", "-o", "json")
	e.want(t, 0)
	var s shown
	if err := json.Unmarshal([]byte(e.stdout), &s); err != nil {
		t.Fatalf("show: %v in %s", err, e.stdout)
	}
	return s
}

type shown struct {
	Device  string
	PCRs    map[int]string
	BootLog struct{ Digest string } `json:"boot_log"`
	IMA     struct{ Entries int }
}

// TestOnce: the exit code of probity-agent run --once is the verdict, and every failure says what to do.
func TestOnce(t *testing.T) {
	w := newWorld(t, func(c *verifier.Config) { c.Enrollment.FirstUse = false })
	agent := buildAgent(t)
	good := w.device(w.CA, healthy(t))
	good.id = agent.show(t, good).Device

	t.Run("unsupported", func(t *testing.T) {
		agent.once(t, good, 5, "this device is unsupported")
	})
	t.Run("trusted", func(t *testing.T) {
		good.baseline("r7-2.4.1")
		e := agent.once(t, good, 0)
		if strings.TrimSpace(e.stdout) != "this device is trusted" {
			t.Errorf("stdout = %q", e.stdout)
		}
	})
	t.Run("untrusted", func(t *testing.T) {
		m := healthy(t)
		m.Booted = remeasured(t, m.Booted, eventlogtest.BootLoader, nil)
		agent.once(t, w.device(w.CA, m), 3, "this device is untrusted", "PCR 4 (boot loader)", "expected", "observed")
	})
	t.Run("warning", func(t *testing.T) {
		d := w.device(nil, healthy(t))
		d.cfg.Identity = "software"
		w.Must(http.MethodPost, "/v1/devices/"+agent.show(t, d).Device+"/approve", nil, nil)
		agent.once(t, d, 3, "this device is warning", "no TPM")
	})

	// What waiting does not mend is told at once.
	t.Run("wrong CA", func(t *testing.T) {
		d := w.device(w.CA, healthy(t))
		d.cfg.CAFingerprint = "sha256:" + strings.Repeat("00", 32)
		e := agent.once(t, d, 1, w.Fingerprint, d.cfg.CAFingerprint, "mistyped, or this is not the verifier")
		e.wantPrompt(t)
		if w.Device(agent.show(t, d).Device).ID != "" {
			t.Error("a device that does not trust the verifier is known to it")
		}
	})
	t.Run("wrong CA of an enrolled device", func(t *testing.T) {
		d := *good
		d.cfg.CAFingerprint = "sha256:" + strings.Repeat("00", 32)
		agent.once(t, &d, 1, "mistyped, or this is not the verifier").wantPrompt(t)
	})
	t.Run("token used up", func(t *testing.T) {
		var token struct{ Token string }
		w.Must(http.MethodPost, "/v1/tokens", map[string]any{"uses": 1}, &token)
		first, second := w.device(w.CA, healthy(t)), w.device(w.CA, healthy(t))
		first.cfg.Token, second.cfg.Token = token.Token, token.Token
		agent.once(t, first, 0)
		e := agent.once(t, second, 1, "token-used", "probity token create")
		e.wantPrompt(t)
		if secret := token.Token[strings.LastIndex(token.Token, ".")+1:]; strings.Contains(e.stdout+e.stderr, secret) {
			t.Error("the token's secret is printed")
		}
	})
	t.Run("token made up", func(t *testing.T) {
		d := w.device(w.CA, healthy(t))
		d.cfg.Token = "pbt1.default.0011223344556677." + strings.Repeat("A", 43)
		agent.once(t, d, 1, "not accepted", "probity token create").wantPrompt(t)
	})
	t.Run("waits for approval", func(t *testing.T) {
		d := w.device(nil, healthy(t))
		d.id = agent.show(t, d).Device
		agent.once(t, d, 1, "probity device approve "+d.id).wantPrompt(t)
		w.Must(http.MethodPost, "/v1/devices/"+d.id+"/approve", nil, nil)
		agent.once(t, d, 0)
	})
	t.Run("renewal withheld", func(t *testing.T) {
		m := healthy(t)
		m.Booted = remeasured(t, m.Booted, eventlogtest.BootLoader, nil)
		d := w.device(w.CA, m)
		agent.once(t, d, 3)
		if err := os.RemoveAll(d.cfg.StateDir); err != nil { // without its certificate it has to ask for a new one
			t.Fatal(err)
		}
		agent.once(t, d, 1, "renewal-withheld", "untrusted").wantPrompt(t)
	})
	t.Run("wrong configuration", func(t *testing.T) {
		d := w.device(w.CA, healthy(t))
		d.cfg.Verifier = "https://verifier.example"
		agent.once(t, d, 2, "mqtts://HOST:PORT").wantPrompt(t)
	})

	// What waiting may mend is tried until the timeout; then the last obstacle is told.
	w.Stop()
	t.Run("verifier down", func(t *testing.T) {
		fresh := w.device(w.CA, healthy(t))
		for name, d := range map[string]*device{"enrolled": good, "new": fresh} {
			e := agent.run(t, d, "run", "--once", "--timeout", "3s")
			e.want(t, 1, "no verdict in time (timeout of 3s)", w.MQTT, "connection refused")
			if e.took < 3*time.Second || e.took > 3*time.Second+prompt {
				t.Errorf("%s: gave up after %s, want 3s", name, e.took)
			}
		}
	})
}

func (e ended) wantPrompt(t *testing.T) {
	t.Helper()
	if e.took > prompt {
		t.Errorf("took %s to fail, want less than %s: waiting does not help", e.took, prompt)
	}
}

// TestShowContactsNobody: what would leave the device can be looked at before anything does.
func TestShowContactsNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // where the verifier would be
	if err != nil {
		t.Fatal(err)
	}
	var contacts atomic.Int32
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			contacts.Add(1)
			c.Close()
		}
	}()
	m := healthy(t)
	v, err := virtual.Start(context.WithoutCancel(t.Context()), t.TempDir(), nil, m)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Stop()
	d := &device{v: v}
	d.cfg.Verifier, d.cfg.CAFingerprint = "mqtts://"+l.Addr().String(), "sha256:"+strings.Repeat("ab", 32)
	d.cfg.Token = "pbt1.acme.0011223344556677." + strings.Repeat("s", 43)
	d.cfg.TPM, d.cfg.Root, d.cfg.StateDir, d.cfg.Identity = v.TPM.Socket, v.Root, v.StateDir(), "tpm"
	agent := buildAgent(t)

	s := agent.show(t, d)
	log := sha256.Sum256(m.Booted)
	if len(s.Device) != 64 || s.BootLog.Digest != hex.EncodeToString(log[:]) {
		t.Errorf("show = %+v, want the device's id and the digest of its boot log", s)
	}
	if s.IMA.Entries == 0 || len(s.PCRs) == 0 || s.PCRs[10] == strings.Repeat("00", 32) {
		t.Errorf("show = %+v, want the IMA list's length and PCRs", s)
	}
	text := agent.run(t, d, "show")
	text.want(t, 0)
	for _, want := range []string{s.Device, hex.EncodeToString(log[:]), "Acme", "R7", "2.4.1", "console=ttyS0"} {
		if !strings.Contains(text.stdout, want) {
			t.Errorf("show does not print %q:\n%s", want, text.stdout)
		}
	}
	if strings.Contains(text.stdout+text.stderr, "ssss") {
		t.Error("show prints the token")
	}
	if _, err := os.Stat(d.cfg.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("show made the state folder: %v", err)
	}
	l.Close()
	<-closed
	if n := contacts.Load(); n != 0 {
		t.Errorf("show contacted the verifier %d times", n)
	}
}
