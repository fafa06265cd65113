package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// connect points the tool at a verifier that answers what is prepared.
func (f *fake) connect(t *testing.T) {
	t.Helper()
	t.Setenv("PROBITY_URL", f.server.URL)
	t.Setenv("PROBITY_CA_FINGERPRINT", f.pin())
	t.Setenv("PROBITY_TOKEN", fakeToken)
}

func TestFind(t *testing.T) {
	list := []v1.AlertRule{{ID: "r1", Name: "r2"}, {ID: "r2", Name: "first"}, {ID: "r3", Name: "same"}, {ID: "r4", Name: "same"}}
	names := func(r v1.AlertRule) (id, name string) { return r.ID, r.Name }
	for wanted, want := range map[string]string{"r1": "r1", "r2": "r2", "first": "r2", "same": "r3"} {
		if got, err := find(list, "rule", wanted, names); err != nil || got.ID != want {
			t.Errorf("find(%q) = %q, %v, want %q", wanted, got.ID, err, want)
		}
	}
	_, err := find(list, "rule", "none", names)
	if want := `there is no rule "none": see "probity alert rule list"`; err == nil || err.Error() != want {
		t.Errorf("find() = %v, want %q", err, want)
	}
}

// full is a disk that takes nothing more.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// A dry run that cannot be shown failed.
func TestDryRunIsShown(t *testing.T) {
	newFake(t).connect(t)
	var messages bytes.Buffer
	err := run(context.Background(), []string{"device", "approve", "edge-7", "--dry-run"}, nil, full{}, &messages)
	if exitCode(err) != exitError || !strings.Contains(messages.String(), "no space left") {
		t.Errorf("run() = %v, %q, want the error", err, messages.String())
	}
}

// A dry run changes nothing: there is nothing to confirm, on a terminal too.
func TestDryRunDoesNotAsk(t *testing.T) {
	f := newFake(t)
	f.connect(t)
	f.answers = []prepared{{
		method: http.MethodGet, path: "/v1/devices/edge-7", status: http.StatusOK, kind: "application/json",
		body: []byte(`{"id": "abab", "label": "edge-7"}`),
	}}
	var out, messages bytes.Buffer
	err := run(context.Background(), []string{"device", "remove", "edge-7", "--dry-run"}, terminal(t, "n\n"), &out, &messages)
	if err != nil || !strings.Contains(out.String(), "DELETE /v1/devices/abab") || strings.Contains(messages.String(), "[y/N]") {
		t.Errorf("run() = %v, %q, %q, want the request and no question", err, out.String(), messages.String())
	}
}

// Whatever a verifier calls a state stays on its line and does nothing to the terminal.
func TestStatesAreEscaped(t *testing.T) {
	a := &app{output: "table"}
	var device, summary bytes.Buffer
	d := v1.Device{ID: "abababababab", State: hostile, Verdict: hostile}
	if err := a.writeDevice(&device, deviceDocument{Device: d}); err != nil {
		t.Fatal(err)
	}
	s := &v1.Summary{
		States: map[result.State]int{}, Moves: []v1.Move{{From: hostile, To: hostile, Devices: 1}},
		Notices: []v1.Notice{{Kind: hostile, Text: "x"}},
	}
	if err := a.writeSummary(&summary, s); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{device.String(), summary.String()} {
		if strings.ContainsAny(text, "\x1b\u009b\u202e") || strings.Contains(text, "\nTRUSTED") {
			t.Errorf("output = %q, want it escaped", text)
		}
	}
}

// A name that begins as the heading of an extra column does is shown like any other.
func TestManifestWithPlus(t *testing.T) {
	var out bytes.Buffer
	a := &app{output: "table", stdout: &out}
	if err := a.printManifest(v1.Manifest{Name: "+r7", Vendor: "Acme"}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "MANIFEST  +r7") || !strings.Contains(got, "Acme") {
		t.Errorf("printManifest() = %q, want name and values", got)
	}
}

// Why evidence was rejected, or a capture refused, is said on one line whatever a device put into it.
func TestReasonsStayOnTheirLine(t *testing.T) {
	f := newFake(t)
	f.connect(t)
	for path, body := range map[string]any{
		"/v1/devices/abab/results": v1.Results{},
		"/v1/devices/abab/events":  v1.Events{Events: []v1.Event{{Seq: 1, Kind: rejected, Detail: hostile}}},
	} {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		f.answers = append(f.answers, prepared{
			method: http.MethodGet, path: path, status: http.StatusOK, kind: "application/json", body: b,
		})
	}
	a := &app{output: "table", stdout: io.Discard, stderr: io.Discard}
	c, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	device := deviceDocument{Device: v1.Device{ID: "abab"}}
	for name, err := range map[string]error{
		"rejection": a.await(context.Background(), c, device, marks{}, time.Minute),
		"refusal":   a.takeCapture(context.Background(), c, v1.Capture{State: "refused", Reason: hostile}, "", false),
		"failure":   a.takeCapture(context.Background(), c, v1.Capture{State: "failed", Reason: hostile}, "", false),
	} {
		if err == nil || !strings.Contains(err.Error(), `R7\x1b`) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want the reason on one line", name, err)
		}
	}
}

// A question ends when the person interrupts, whatever is typed or not.
func TestInterruptedQuestion(t *testing.T) {
	stdin, _ := io.Pipe()
	gone := make(chan struct{})
	close(gone)
	a := &app{stdin: stdin, stderr: io.Discard, interrupted: gone}
	if a.confirm("remove it?") {
		t.Error("confirm() = true")
	}
}

// The URI of a key may have the PIN of its token in it.
func TestKeyIsShownWithoutPIN(t *testing.T) {
	if got := shownName("pkcs11:token=release;object=p384?pin-value=1234"); got != "pkcs11:token=release;object=p384" {
		t.Errorf("shownName() = %q", got)
	}
}
