package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// console is a pseudo terminal (pty(7)) whose screen a test reads.
type console struct {
	keys, program *os.File
	mu            sync.Mutex
	text          bytes.Buffer
}

func newConsole(t *testing.T, columns, lines uint16) *console {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	if err := unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(keys.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: lines}); err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &console{keys: keys, program: program}
	t.Cleanup(func() { _ = program.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := keys.Read(b)
			if err != nil {
				return
			}
			x.mu.Lock()
			x.text.Write(b[:n])
			x.mu.Unlock()
		}
	}()
	return x
}

// await waits until something was written since the last call, and forgets it.
func (x *console) await(t *testing.T, want string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		x.mu.Lock()
		text := x.text.String()
		if strings.Contains(text, want) {
			x.text.Reset()
			x.mu.Unlock()
			return
		}
		x.mu.Unlock()
		if time.Now().After(end) {
			t.Fatalf("the screen never had %q:\n%q", want, text)
		}
	}
}

func (x *console) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := x.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// says prepares an answer.
func (f *fake) says(t *testing.T, path string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, prepared{
		method: http.MethodGet, path: path, status: http.StatusOK,
		kind: "application/json", body: b,
	})
}

// TestTopInTerminal runs the command as somebody at a terminal does, while the fleet changes.
func TestTopInTerminal(t *testing.T) {
	x := newConsole(t, 120, 40)
	f := newFake(t)
	t.Setenv("PROBITY_URL", f.server.URL)
	t.Setenv("PROBITY_CA_FINGERPRINT", f.pin())
	t.Setenv("PROBITY_TOKEN", fakeToken)
	t.Setenv("HOME", t.TempDir())
	id := strings.Repeat("ab", 32)
	device := v1.Device{ID: id, Label: "edge-7", Status: "active", State: result.Untrusted, Verdict: result.Untrusted}
	f.says(t, "/v1/fleet/summary", v1.Summary{Total: 7, States: map[result.State]int{result.Trusted: 7}})
	f.says(t, "/v1/fleet/clusters", v1.Clusters{})
	f.says(t, "/v1/fleet/changes", v1.Changes{})
	f.says(t, "/v1/devices", v1.Devices{Devices: []v1.Device{device}})
	f.says(t, "/v1/devices/"+id, device)
	f.says(t, "/v1/devices/"+id+"/results", v1.Results{Results: []v1.Result{{Seq: 1, Result: resultWith(hostile)}}})
	f.says(t, "/v1/devices/"+id+"/similar", v1.SimilarFindings{})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	var messages bytes.Buffer
	go func() { done <- run(ctx, []string{"top"}, x.program, x.program, &messages) }()
	x.await(t, "No device fails")

	// A device turns untrusted while one looks.
	f.says(t, "/v1/fleet/clusters", v1.Clusters{Clusters: []v1.Cluster{{
		ID: "c1", Code: "boot-event-unknown",
		Component: "PCR 4", Devices: 1,
	}}})
	f.says(t, "/v1/fleet/summary", v1.Summary{Total: 7, Clusters: 1, States: map[result.State]int{
		result.Trusted:   6,
		result.Untrusted: 1,
	}})
	f.mu.Lock()
	for _, s := range f.streams {
		s <- "event: device\ndata: {}\n\n"
	}
	f.mu.Unlock()
	x.await(t, "boot-event-unknown")
	x.press(t, "\r")
	x.await(t, "devices of cluster c1")
	x.press(t, "\r")
	x.await(t, "PCR 4 is not known")
	x.press(t, "q")
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("run(top) = %v, %s", err, messages.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("q does not end it")
	}
}

func resultWith(component string) result.Result {
	return result.Result{State: result.Untrusted, Findings: []result.Finding{{
		Code: "boot-event-unknown", Severity: result.Critical, Submod: result.Boot, Component: component,
		Meaning: "PCR 4 is not known",
	}}}
}

// On a terminal a question waits for its answer, and a password is not shown.
func TestPromptsInTerminal(t *testing.T) {
	x := newConsole(t, 80, 24)
	a := &app{stdin: x.program, stdout: x.program, stderr: x.program}
	answer := make(chan string, 1)
	ask := func(f func() (string, error)) {
		go func() {
			s, err := f()
			if err != nil {
				s = "error: " + err.Error()
			}
			answer <- s
		}()
	}
	ask(func() (string, error) { return a.newPassword("", "--password-file", "password") })
	x.await(t, "password: ")
	x.press(t, "correct horse\r")
	x.await(t, "password again: ")
	x.press(t, "correct house\r")
	if got := <-answer; got != "error: the two are not the same" {
		t.Errorf("newPassword() = %q", got)
	}
	ask(func() (string, error) { return a.secret("", "--token-file", "token") })
	x.await(t, "token: ")
	x.press(t, "hidden\r")
	if got := <-answer; got != "hidden" {
		t.Errorf("secret() = %q, want what was typed", got)
	}
	x.mu.Lock()
	if strings.Contains(x.text.String(), "hidden") {
		t.Errorf("the secret was shown: %q", x.text.String())
	}
	x.mu.Unlock()
	ask(func() (string, error) { return "", a.consent(false, "remove %s?", hostile) })
	x.await(t, `remove R7\x1b[2J\u009b31m\u202etsurt\u200b\x0aTRUSTED? [y/N] `)
	x.press(t, "n\r")
	if got := <-answer; got != "error: not confirmed: nothing was changed" {
		t.Errorf("consent() = %q", got)
	}
}

// On a terminal each look takes the place of the one before and fits on the screen.
func TestWatchInTerminal(t *testing.T) {
	x := newConsole(t, 80, 10)
	a := &app{stdout: x.program, stderr: x.program, output: "table"}
	v := &viewing{app: a, out: x.program, messages: x.program, title: "probity x", every: watchEvery}
	looks := 0
	if err := v.look(func() error {
		looks++
		a.say("a note")
		return a.print(looks, func(w io.Writer) error {
			_, err := fmt.Fprint(w, strings.Repeat("line\n", 20))
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	x.await(t, "make the window larger")
	if err := v.look(func() error { return fmt.Errorf("gone: %s", hostile) }); err == nil {
		t.Error("look() = nil, want the error")
	}
	x.await(t, `gone: R7\x1b[2J`)
}
