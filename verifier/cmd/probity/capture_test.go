package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/probity-attest/probity/verifier/result"
)

// sends says what devices send when raw bytes are asked for: "sends COUNT|refusal|away".
func (o *online) sends(ts *testscript.TestScript, _ bool, args []string) {
	switch args[0] {
	case "refusal":
		o.server.Fleet.Holds(nil, "not-allowed: the owner's charter "+strings.ReplaceAll(hostile, "\n", ""))
	case "away":
		o.server.Fleet.Holds(nil, "")
	default:
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		o.server.Fleet.Holds(flashContent(n), "")
	}
}

func flashContent(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// captured checks a file: "captured FILE COUNT".
func (o *online) captured(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	name := ts.MkAbs(args[0])
	got, err := os.ReadFile(name)
	ts.Check(err)
	if !bytes.Equal(got, flashContent(n)) {
		ts.Fatalf("%s has %d bytes, other ones than the device's %d", args[0], len(got), n)
	}
	info, err := os.Stat(name)
	ts.Check(err)
	if info.Mode().Perm() != 0o600 {
		ts.Fatalf("%s has mode %v: others may read it", args[0], info.Mode())
	}
}

// changedFlash is the result of a device whose flash memory was changed.
func changedFlash(r *result.Result) {
	r.State = result.Untrusted
	r.Regions = []result.Region{{
		Name: "bios", Source: "mtd:bios", Offset: 4096, Length: 8 << 20, Digest: "bbbb", Status: result.RegionChanged,
	}}
	r.Findings = []result.Finding{{
		Code: "flash-changed", Severity: result.Critical, Submod: result.Flash, Component: "flash region bios", Expected: "aaaa",
		Observed: "bbbb", Nearest: "r7-2.4.1", Meaning: "the flash memory's content is not the reference value", Action: "isolate the device",
		FirstSeen: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}}
}
