package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/verifier"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	worlds "github.com/probity-attest/probity/verifier/e2e/world"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

// build builds programs as a release has them and returns their folder.
func build(t *testing.T, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"build", "-trimpath", "-o", dir + string(filepath.Separator)}
	for _, p := range packages {
		args = append(args, "github.com/probity-attest/probity/"+p)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, b)
	}
	return dir
}

// line is what the tests need of a line in a program's log.
type line struct {
	Message  string `json:"msg"`
	Level    string `json:"level"`
	Evidence string `json:"evidence"`
	MQTT     string `json:"mqtt"`
	API      string `json:"api"`
}

// program is a running program that logs JSON to stderr.
type program struct {
	cmd    *exec.Cmd
	stdout worlds.Buffer
	log    worlds.Buffer
	rest   []byte // of the log, an unfinished line
	heard  func(line)
	ended  chan struct{}
}

// launch starts a program; heard is told of each whole line of its log.
func launch(t *testing.T, path string, args []string, heard func(line)) *program {
	t.Helper()
	p := &program{cmd: exec.Command(path, args...), heard: heard, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // waits for the log's end, too; how it ended is asked for where it matters
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", strings.Join(p.cmd.Args, " "), p.log.String())
		}
	})
	return p
}

// Write takes the log. Only exec's goroutine calls it.
func (p *program) Write(b []byte) (int, error) {
	_, _ = p.log.Write(b)
	p.rest = append(p.rest, b...)
	for {
		whole, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		p.rest = rest
		var l line
		if json.Unmarshal(whole, &l) == nil {
			p.heard(l)
		}
	}
}

// kill ends the program without warning, as a power cut does.
func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// terminate asks the program to end and returns its exit code.
func (p *program) terminate() int {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// receipts counts what agents were told, by device.
type receipts struct {
	mu     sync.Mutex
	of     map[int][]string // device: digests of appraised evidence
	total  int
	change chan struct{} // closed and replaced with every receipt
}

func (r *receipts) add(device int, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[device] = append(r.of[device], digest)
	r.total++
	close(r.change)
	r.change = make(chan struct{})
}

func (r *receipts) seen() (total int, change <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total, r.change
}

func (r *receipts) list(device int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.of[device]...)
}

// more waits for n receipts and returns in the moment of the last.
func (r *receipts) more(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(patience)
	first, change := r.seen()
	for now := first; now < first+n; now, change = r.seen() {
		select {
		case <-change:
		case <-deadline:
			t.Fatalf("%d receipts within %s, want %d", now-first, patience, n)
		}
	}
}

// fleet is a verifier and agents as processes of their own.
type fleet struct {
	*world
	bin      string
	args     []string // of the verifier
	verifier *program
	devices  []*virtual.Device
	ids      []string
	agents   []*program
	receipts receipts
	push     []chan struct{} // device: challenge it
}

const (
	killDevices = 4
	killRounds  = 6
)

func newFleet(t *testing.T) *fleet {
	t.Helper()
	ca, err := tpmtest.NewCA("Acme TPM Works")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := &fleet{
		world: &world{World: worlds.Attach(t, ca, verifier.DefaultConfig()), t: t},
		bin:   build(t, "agent/cmd/probity-agent", "verifier/cmd/probity-verifier"),
	}
	f.receipts.of, f.receipts.change = map[int][]string{}, make(chan struct{})
	f.Config.StateDir = filepath.Join(dir, "verifier")
	roots := filepath.Join(dir, "tpm-roots")
	if err := os.MkdirAll(roots, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteRoot(roots); err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteIntermediate(roots); err != nil {
		t.Fatal(err)
	}
	f.args = []string{
		"--state-dir", f.Config.StateDir, "--enrollment-tpm-roots", roots, "--policy-interval", "1s", "--log-format", "json",
	}
	f.start("127.0.0.1:0", "127.0.0.1:0")
	if err := f.Connect(); err != nil {
		t.Fatal(err)
	}
	var m []string
	f.Await("the verifier prints a line that enrols a device", func() bool {
		m = worlds.EnrolLine.FindStringSubmatch(f.verifier.stdout.String())
		return m != nil
	})
	f.MQTT, f.Fingerprint, f.Token = m[1], m[2], m[3]
	for range killDevices {
		f.addDevice()
	}
	return f
}

// start starts the verifier and waits until it is ready.
func (f *fleet) start(mqtt, api string) {
	f.t.Helper()
	ready := make(chan line, 1)
	f.verifier = launch(f.t, filepath.Join(f.bin, "probity-verifier"),
		append([]string{"--mqtt-listen", mqtt, "--api-listen", api}, f.args...), func(l line) {
			if l.Message == "verifier is ready" {
				ready <- l
			}
		})
	select {
	case l := <-ready:
		f.Config.MQTT.Listen, f.Config.API.Listen = l.MQTT, l.API
	case <-f.verifier.ended:
		f.t.Fatal("the verifier ended while it started")
	case <-time.After(patience):
		f.t.Fatal("the verifier does not become ready")
	}
}

// restart starts it again where it was.
func (f *fleet) restart() {
	f.t.Helper()
	f.start(f.Config.MQTT.Listen, f.Config.API.Listen)
}

func (f *fleet) addDevice() {
	f.t.Helper()
	i := len(f.devices)
	v, err := virtual.Start(context.WithoutCancel(f.t.Context()), f.t.TempDir(), f.CA, healthy(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := v.Stop(); err != nil {
			f.t.Error(err)
		}
	})
	f.devices, f.agents, f.ids = append(f.devices, v), append(f.agents, nil), append(f.ids, "")
	f.push = append(f.push, make(chan struct{}, 1))
	var shown struct{ Device string }
	out, err := exec.Command(filepath.Join(f.bin, "probity-agent"), append([]string{"show", "-o", "json"}, f.local(i)...)...).Output()
	if err == nil {
		err = json.Unmarshal(out, &shown)
	}
	if err != nil {
		f.t.Fatalf("probity-agent show: %v", err)
	}
	f.ids[i] = shown.Device
	f.startAgent(i)
}

// local are the flags that tell the agent where its machine is.
func (f *fleet) local(i int) []string {
	d := f.devices[i]
	return []string{"--tpm", d.TPM.Socket, "--root", d.Root, "--state-dir", d.StateDir()}
}

func (f *fleet) startAgent(i int) {
	f.t.Helper()
	args := append([]string{
		"run", "--verifier", f.MQTT, "--ca-fingerprint", f.Fingerprint, "--token", f.Token,
		"--min-interval", "100ms", "--log-format", "json",
	}, f.local(i)...)
	push := f.push[i] // the slice still grows while agents run
	f.agents[i] = launch(f.t, filepath.Join(f.bin, "probity-agent"), args, func(l line) {
		if l.Message != "evidence appraised" {
			return
		}
		f.receipts.add(i, l.Evidence)
		select {
		case push <- struct{}{}:
		default:
		}
	})
}

// keepBusy challenges each device again as soon as it was told the verdict, until ctx ends: so that a kill meets work in
// all its stages. A verifier that was just killed cannot be asked, which does not matter.
func (f *fleet) keepBusy(ctx context.Context) (wait func()) {
	var wg sync.WaitGroup
	for i, id := range f.ids {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-f.push[i]:
					_ = f.Call(http.MethodPost, "/v1/devices/"+id+"/attest", nil, nil)
				}
			}
		})
	}
	return wg.Wait
}

// stored returns the digests of all evidence of a device that the verifier has results for.
func (f *fleet) stored(id string) map[string]bool {
	f.t.Helper()
	out := map[string]bool{}
	for next := ""; ; {
		var page v1.Results
		f.Must(http.MethodGet, "/v1/devices/"+id+"/results?limit=500"+next, nil, &page)
		for _, r := range page.Results {
			if out[r.Evidence] {
				f.t.Errorf("device %.12s: evidence %.12s was recorded twice", id, r.Evidence)
			}
			out[r.Evidence] = true
		}
		if page.Next == 0 {
			return out
		}
		next = fmt.Sprintf("&before=%d", page.Next)
	}
}

// TestKill (ATTACKS row 50) kills the verifier and agents at random moments while devices attest: no evidence that was
// acknowledged is lost, and no device is stuck.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: it builds the programs and takes half a minute")
	}
	f := newFleet(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	idle := f.keepBusy(ctx)
	for round := range killRounds {
		// In the first round the last devices may still be enrolling.
		f.receipts.more(t, 1+random.IntN(25))
		f.verifier.kill()
		if round == 2 || round == 4 { // both sides at once, and an agent that comes back before its verifier does
			i := round/2 - 1
			f.agents[i].kill()
			f.startAgent(i)
		}
		f.restart()
	}
	cancel()
	idle()

	// Nobody is pushed any more: each device comes back by itself.
	before := make([]int, len(f.ids))
	for i := range f.ids {
		before[i] = len(f.receipts.list(i))
	}
	f.Await("every device attests again", func() bool {
		for i := range f.ids {
			if len(f.receipts.list(i)) == before[i] {
				return false
			}
		}
		return true
	})
	for _, p := range f.agents {
		if code := p.terminate(); code != 0 {
			t.Errorf("agent ended with %d after SIGTERM", code)
		}
	}

	acknowledged := 0
	for i, id := range f.ids {
		stored := f.stored(id)
		for _, digest := range f.receipts.list(i) {
			acknowledged++
			if len(digest) != 64 || !stored[digest] {
				t.Errorf("device %.12s: evidence %q was acknowledged and is lost", id, digest)
			}
		}
	}
	t.Logf("%d receipts", acknowledged)
	if code := f.verifier.terminate(); code != 0 {
		t.Errorf("verifier ended with %d after SIGTERM", code)
	}
	f.evidenceIsKept()
}

// evidenceIsKept looks into the database, which must be whole: the evidence itself is there, and what it is.
func (f *fleet) evidenceIsKept() {
	f.t.Helper()
	s, err := sqlite.Open(f.t.Context(), sqlite.Config{Path: filepath.Join(f.Config.StateDir, "probity.db")})
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	for i, id := range f.ids {
		for _, digest := range f.receipts.list(i) {
			if b, err := s.Evidence(f.t.Context(), f.Config.Tenant, id, digest); err != nil || len(b) == 0 {
				f.t.Errorf("device %.12s: evidence %.12s: %d bytes, %v", id, digest, len(b), err)
			}
		}
	}
}
