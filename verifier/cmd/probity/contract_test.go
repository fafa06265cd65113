package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// invoke runs the command in this process.
func invoke(t *testing.T, stdin []byte, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, messages bytes.Buffer
	err = run(context.Background(), args, bytes.NewReader(stdin), &out, &messages)
	return out.String(), messages.String(), err
}

// The JSON contracts that tools rely on.
type logContract struct {
	Events  *int                         `json:"events"`
	Format  string                       `json:"format"`
	Banks   []string                     `json:"banks"`
	PCRs    map[string]map[string]string `json:"pcrs"`
	Entries []json.RawMessage            `json:"entries"`
}

type imaContract struct {
	Entries    *int                         `json:"entries"`
	Violations *int                         `json:"violations"`
	PCRs       map[string]map[string]string `json:"pcrs"`
	List       []json.RawMessage            `json:"list"`
}

func showJSON[T any](t *testing.T, args ...string) T {
	t.Helper()
	out, messages, err := invoke(t, nil, append(args, "-o", "json")...)
	if err != nil {
		t.Fatalf("probity %s: %v, %s", strings.Join(args, " "), err, messages)
	}
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("probity %s: %v", strings.Join(args, " "), err)
	}
	return v
}

// quoted reads "BANK INDEX HEX" lines: PCR values read from a TPM.
func quoted(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]string{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			t.Fatalf("%s: line %q", path, line)
		}
		if out[f[0]] == nil {
			out[f[0]] = map[string]string{}
		}
		out[f[0]][f[1]] = f[2]
	}
	return out
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files, %v", pattern, err)
	}
	return files
}

// What log show says of real boots is what the TPMs held.
func TestLogOfRealBoots(t *testing.T) {
	for _, path := range glob(t, testdata+"/eventlogs/*.bin") {
		got := showJSON[logContract](t, "log", "show", path)
		want := quoted(t, strings.TrimSuffix(path, ".bin")+".pcrs")
		if got.Events == nil || *got.Events != len(got.Entries) || *got.Events == 0 || got.Format != "tcg2" {
			t.Errorf("%s: events, format = %v, %q with %d entries", path, got.Events, got.Format, len(got.Entries))
		}
		for _, bank := range got.Banks {
			for i, value := range got.PCRs[bank] {
				if i != "10" && i != "12" && want[bank][i] != value { // others extend these after the firmware
					t.Errorf("%s: PCR %s of %s = %s, the TPM held %s", path, i, bank, value, want[bank][i])
				}
			}
			if len(got.PCRs[bank]) < 8 {
				t.Errorf("%s: only %d PCRs of %s", path, len(got.PCRs[bank]), bank)
			}
		}
	}
}

func TestIMAOfRealBoots(t *testing.T) {
	for _, path := range glob(t, testdata+"/ima/*.bin") {
		name := strings.TrimSuffix(path, ".bin")
		got := showJSON[imaContract](t, "ima", "show", path)
		if got.Entries == nil || got.Violations == nil || *got.Entries != len(got.List) || *got.Entries == 0 {
			t.Errorf("%s: entries, violations = %v, %v with %d in the list", path, got.Entries, got.Violations, len(got.List))
		}
		want := quoted(t, name+".pcrs")
		for _, bank := range []string{"sha1", "sha256"} {
			if w := want[bank]["10"]; w != "" && got.PCRs["10"][bank] != w {
				t.Errorf("%s: PCR 10 of %s = %s, the TPM held %s", path, bank, got.PCRs["10"][bank], w)
			}
		}
		if diff := cmp.Diff(got, showJSON[imaContract](t, "ima", "show", name+".ascii")); diff != "" {
			t.Errorf("%s: binary and ASCII differ, -binary +ascii:\n%s", name, diff)
		}
	}
}

// The collection's index was made by an independent program.
func TestLogOfCorpus(t *testing.T) {
	index := corpus + "/eventlogs/index.tsv"
	skipWithout(t, index)
	f, err := os.Open(index)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		row := strings.Split(lines.Text(), "\t")
		if len(row) != 6 || row[0] == "file" {
			continue
		}
		seen++
		got := showJSON[logContract](t, "log", "show", filepath.Join(corpus, "eventlogs", row[0]))
		if fmt.Sprint(*got.Events) != row[3] {
			t.Errorf("%s: %d events, want %s", row[0], *got.Events, row[3])
		}
		want := map[string]string{}
		for _, pair := range strings.Fields(row[5]) {
			i, value, _ := strings.Cut(pair, "=")
			want[i] = value
		}
		if diff := cmp.Diff(want, got.PCRs[row[4]]); diff != "" {
			t.Errorf("%s: PCRs of %s -index +got:\n%s", row[0], row[4], diff)
		}
	}
	if seen == 0 {
		t.Error("the index names no log")
	}
}

// hostileLog is 1 MiB of the smallest events with the longest output that an attacker may hope for.
func hostileLog(eventType uint32, data []byte) []byte {
	head := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x04, 0, 20, 0, 0)
	log := binary.LittleEndian.AppendUint32(nil, 0)
	log = binary.LittleEndian.AppendUint32(log, 3)
	log = append(log, make([]byte, 20)...)
	log = append(binary.LittleEndian.AppendUint32(log, uint32(len(head))), head...)
	for n := 0; n < 8000; n++ {
		e := binary.LittleEndian.AppendUint32(nil, uint32(n%8))
		e = binary.LittleEndian.AppendUint32(e, eventType)
		e = binary.LittleEndian.AppendUint32(e, 1)
		e = append(binary.LittleEndian.AppendUint16(e, 4), make([]byte, 20)...)
		e = append(binary.LittleEndian.AppendUint32(e, uint32(len(data))), data...)
		if len(log)+len(e) > 1<<20 {
			break
		}
		log = append(log, e...)
	}
	return log
}

// A hostile log must not make the output explode, nor reach the terminal with what a terminal acts on.
func TestHostileLogStaysBounded(t *testing.T) {
	const action = 0x80000007
	for _, c := range []struct {
		name      string
		data      []byte
		eventType uint32
		formats   []string
	}{
		{"no data", nil, action, []string{"json"}},
		{"controls", bytes.Repeat([]byte{0x1b}, 90), action, []string{"json", "yaml", "table"}},
		{"bidi", bytes.Repeat([]byte("\u202e"), 30), action, []string{"json", "yaml", "table"}},
		{"not text", bytes.Repeat([]byte{0xff}, 90), action, []string{"json"}},
		{"one large", bytes.Repeat([]byte("A"), 900_000), action, []string{"json"}},
		{"long text", bytes.Repeat([]byte("A"), 4000), action, []string{"json", "yaml"}},
		{"boot loader", bytes.Repeat([]byte{0x1b}, 90), 0x0d, []string{"json"}},
		{"tag", bytes.Repeat([]byte{1}, 90), 0x06, []string{"json"}},
		{"variable", bytes.Repeat([]byte{1}, 90), 0x80000001, []string{"json"}},
		{"partitions", bytes.Repeat([]byte{1}, 90), 0x80000006, []string{"json"}},
	} {
		log := hostileLog(c.eventType, c.data)
		for _, format := range c.formats {
			out, messages, err := invoke(t, log, "log", "show", "-", "-o", format)
			if err != nil {
				t.Fatalf("%s as %s: %v %s", c.name, format, err, messages)
			}
			if limit := 8 << 20; len(out) > limit {
				t.Errorf("%s as %s: %d bytes of output from %d, want at most %d", c.name, format, len(out), len(log), limit)
			}
			if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !v1.Prints(r) }); i >= 0 {
				t.Errorf("%s as %s: output holds %q", c.name, format, out[i:i+1])
			}
		}
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	_, messages, err := invoke(t, make([]byte, 5<<20), "log", "show", "-")
	if err == nil || !strings.Contains(messages, "standard input: larger than 4194304 bytes") {
		t.Errorf("5 MiB: %v %s, want an error that says the limit", err, messages)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	t.Setenv("PROBITY_URL", "https://127.0.0.1:1")
	t.Setenv("PROBITY_TOKEN", "x")
	var out, messages bytes.Buffer
	err := run(ctx, []string{"events"}, nil, &out, &messages)
	if err == nil || !strings.Contains(messages.String(), "interrupted") {
		t.Errorf("run after an interrupt = %v, %s", err, messages.String())
	}
}

func TestColour(t *testing.T) {
	a := &app{colour: true}
	var buf bytes.Buffer
	when := time.Now()
	devices := []v1.Device{{ID: "0123456789abcdef", State: "untrusted", Label: "\x1b[32m", LastSeen: &when}}
	if err := a.writeDevices(&buf, devices); err != nil {
		t.Fatal(err)
	}
	got := buf.String()
	if !strings.Contains(got, red+"untrusted"+reset) || !strings.Contains(got, `\x1b[32m`) || strings.Contains(got, "\x1b[32m") {
		t.Errorf("table = %q, want the state in red and the label escaped", got)
	}
	t.Setenv("NO_COLOR", "1")
	if tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err == nil {
		defer tty.Close()
		if wantColour(tty) {
			t.Error("colours in spite of NO_COLOR")
		}
		if err := os.Unsetenv("NO_COLOR"); err != nil {
			t.Fatal(err)
		}
		t.Setenv("TERM", "xterm")
		if !wantColour(tty) {
			t.Error("no colours on a terminal")
		}
	}
	if wantColour(&buf) {
		t.Error("colours into a buffer")
	}
}

// The command is what an operator installs on any machine: it has no business with agents, and a client needs no server.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	const module = "github.com/probity-attest/probity/"
	reasons := map[string]string{
		module + "agent":               "the agent's code runs on devices, not on an operator's machine",
		module + "verifier/store":      "a client asks the API, not the store",
		module + "verifier/broker":     "a client speaks no MQTT",
		module + "verifier/fleet":      "a client leads no devices",
		"database/sql":                 "a client has no database",
		"github.com/danielgtaylor":     "the web framework belongs to the server",
		"github.com/google/go-tpm":     "a client has no TPM",
		"github.com/eclipse/paho.mqtt": "a client speaks no MQTT",
		"testing":                      "test code stays out of programs",
	}
	for dep := range strings.FieldsSeq(string(out)) {
		if dep == "database/sql/driver" {
			continue // an interface of values alone, which the terminal library's colours implement
		}
		for prefix, reason := range reasons {
			if strings.HasPrefix(dep, prefix) {
				t.Errorf("probity depends on %s: %s", dep, reason)
			}
		}
	}
}
