package packages

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/e2e/world"
)

// verifier is the installed verifier, started as its unit does.
type verifier struct {
	m      *machine
	cmd    *exec.Cmd
	out    *world.Buffer
	ended  chan error
	server string // the enrolment line's words
	pin    string
	token  string
}

const state = "var/lib/probity-verifier"

// start starts it on free ports and waits until it is healthy.
func start(m *machine) *verifier {
	m.Helper()
	v := &verifier{m: m, out: &world.Buffer{}, ended: make(chan error, 1)}
	v.cmd = exec.Command(m.path("usr/bin/probity-verifier"), "--config", m.path("etc/probity/verifier.yaml"),
		"--state-dir", m.path(state), "--mqtt-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	v.cmd.Stdout, v.cmd.Stderr = v.out, v.out
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.cmd.Start(); err != nil {
		m.Fatal(err)
	}
	go func() { v.ended <- v.cmd.Wait() }()
	m.Cleanup(func() { _ = v.cmd.Process.Kill() })
	v.await("the verifier answers", func() bool { return v.cli(nil, "device", "list") == nil })
	if line := world.EnrolLine.FindStringSubmatch(v.out.String()); line != nil {
		v.server, v.pin, v.token = line[1], line[2], line[3]
	}
	return v
}

func (v *verifier) await(what string, is func() bool) {
	v.m.Helper()
	deadline, tick := time.After(world.Patience), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case err := <-v.ended:
			v.m.Fatalf("the verifier ended: %v\n%s", err, v.out)
		case <-deadline:
			v.m.Fatalf("waited %s in vain until %s\n%s", world.Patience, what, v.out)
		}
	}
}

// cli runs the installed command line as the operator.
func (v *verifier) cli(into any, args ...string) error {
	context := v.m.path(filepath.Join(state, "operator.yaml"))
	b, err := exec.Command(v.m.path("usr/bin/probity"), append([]string{"--context", context, "-o", "json"}, args...)...).Output()
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func (v *verifier) stop() {
	v.m.Helper()
	_ = v.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-v.ended:
		if err != nil {
			v.m.Errorf("the verifier ended: %v\n%s", err, v.out)
		}
	case <-time.After(world.Patience):
		v.m.Fatal("the verifier does not end")
	}
}

// devices returns the ids that the verifier knows.
func (v *verifier) devices() (ids []string) {
	v.m.Helper()
	var out struct{ Devices []struct{ ID string } }
	if err := v.cli(&out, "device", "list"); err != nil {
		v.m.Fatal(err)
	}
	for _, d := range out.Devices {
		ids = append(ids, d.ID)
	}
	return ids
}

// TestUpgrade: installed, started, a device enrolled by what the verifier printed; then both are upgraded. Data and
// configuration stay, and the device is still itself.
func TestUpgrade(t *testing.T) {
	m := debian(t)
	m.install(m, built["deb probity-verifier "+first])
	m.install(m, built["deb probity-agent "+first])
	v := start(m)
	if v.token == "" {
		t.Fatalf("the first start prints no line for devices:\n%s", v.out)
	}
	config := strings.NewReplacer("# verifier: mqtts://HOST:8883", "verifier: "+v.server, "# ca-fingerprint: sha256:...", "ca-fingerprint: "+v.pin,
		"# token: pbt1....", "token: "+v.token).Replace(m.read("etc/probity/agent.yaml"))
	if err := os.WriteFile(m.path("etc/probity/agent.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	attest := device(m)
	attest()
	before := v.devices()
	if len(before) != 1 {
		t.Fatalf("devices = %q, want one", before)
	}
	v.stop()

	m.install(m, built["deb probity-verifier "+second])
	m.install(m, built["deb probity-agent "+second])
	for _, of := range []string{"probity", "probity-verifier", "probity-agent"} {
		if got := run(t, m.path("usr/bin/"+of), "version"); !strings.Contains(got, second) {
			t.Errorf("%s version = %q after the upgrade", of, got)
		}
	}
	if m.read("etc/probity/agent.yaml") != config {
		t.Error("the upgrade changed the configuration")
	}
	again := start(m)
	if got := again.devices(); len(got) != 1 || got[0] != before[0] {
		t.Errorf("devices after the upgrade = %q, want %q", got, before)
	}
	if strings.Contains(again.out.String(), "No device is enrolled yet") {
		t.Error("the upgraded verifier greets as if it were new")
	}
	again.stop()
	m.remove(m, "probity-verifier")
	if !m.exists(state + "/probity.db") {
		t.Error("removing the package removed the evidence")
	}
}

// device returns a function with which a device's installed agent attests, as its configuration file says.
func device(m *machine) (attest func()) {
	m.Helper()
	log, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "eventlogs", "q35-uki.bin"))
	if err != nil {
		m.Fatal(err)
	}
	ca, err := tpmtest.NewCA("Acme TPM Works")
	if err != nil {
		m.Fatal(err)
	}
	d, err := virtual.Start(m.Context(), m.TempDir(), ca, virtual.Machine{Vendor: "Acme", Model: "R7", Firmware: "1.0", Booted: log})
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = d.Stop() })
	return func() {
		m.Helper()
		cmd := exec.Command(m.path("usr/bin/probity-agent"), "run", "--once", "--config", m.path("etc/probity/agent.yaml"),
			"--tpm", d.TPM.Socket, "--root", d.Root, "--state-dir", d.StateDir())
		b, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 5 { // no reference values yet
			m.Fatalf("%s: %v, want exit code 5\n%s", cmd, err, b)
		}
	}
}
