package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/result"
)

// role is a device of the fleet and what must come of it.
type role struct {
	name, group string
	machine     virtual.Machine
	want        result.State
	golden      string // name of the baseline that is taken from it; empty: none
	silent      bool   // its agent is stopped
	chips       chips  // its flash memory; nil: it reads none
}

// chips is the content of a machine's flash memory by the file that shows it.
type chips map[string][]byte

// flashLayout is where a router's firmware lies.
const flashLayout = `regions:
  - {name: boot-block, source: "file:/spi.bin", offset: 0, length: 512KiB}
  - name: firmware
    source: "file:/spi.bin"
    offset: 512KiB
    length: 2560KiB
    exclude: [{offset: 1792KiB, length: 512KiB, reason: UEFI variables}]
  - {name: recovery, source: "file:/spi.bin", offset: 3MiB, length: 1MiB}
  - {name: controller, source: "file:/ec.bin", offset: 0, length: 256KiB}
`

// policyDocument is the operator's policy.
var policyDocument = fmt.Sprintf(`version: 1
name: acme-access
default:
  stale-after: %[1]s
  report-every: %[2]s
  secure-boot: reference
groups:
  - name: north
    match: {groups: [north]}
    min-identity: certified
waivers:
  - finding: file-unknown
    component: "file /usr/local/bin/site-survey"
    groups: [south]
    owner: ola.nordmann@acme.example
    reason: installed by the field team until the survey is over
    expires: %[3]s
`, staleAfter, interval, time.Now().AddDate(0, 0, 20).UTC().Format(time.DateOnly))

// denial is what the operator knows to be bad.
var denial = v1.NewDenial{
	Digest: strings.Repeat("5a17c0de", 8), Advisory: "CVE-2026-41190", Note: "boot loader of R7 2.3.0: it starts unsigned kernels",
}

// routerChips returns the flash memory of a router as its vendor ships it. implanted changes some of the firmware, and
// hides another chip.
func routerChips(implanted bool) chips {
	random := rand.NewChaCha8([32]byte{})
	spi, controller := make([]byte, 4<<20), make([]byte, 256<<10)
	_, _ = random.Read(spi) // never fails (math/rand/v2)
	_, _ = random.Read(controller)
	if implanted {
		copy(spi[1200<<10:], bytes.Repeat([]byte("implant "), 8<<10))
		return chips{"spi.bin": spi}
	}
	return chips{"spi.bin": spi, "ec.bin": controller}
}

// machine reads a captured machine.
func machine(testdata, name string, m virtual.Machine) (virtual.Machine, error) {
	read := func(kind, file string) []byte {
		b, err := os.ReadFile(filepath.Join(testdata, kind, file))
		if err != nil {
			return nil // said below
		}
		return b
	}
	m.Booted, m.IMA = read("eventlogs", name+".bin"), read("ima", name+".bin")
	m.CommandLine = strings.TrimSpace(string(read("eventlogs", name+".cmdline")))
	if m.Booted == nil {
		return m, fmt.Errorf("captured machine %s is not in %s: run this in the project's folder", name, testdata)
	}
	return m, nil
}

// cast returns the devices: routers and edge servers of two makers, most of them good.
func cast(testdata string) ([]role, error) {
	router, err := machine(testdata, "q35-grub", virtual.Machine{Vendor: "Acme", Model: "R7", Firmware: "2.4.1"})
	if err != nil {
		return nil, err
	}
	server, err := machine(testdata, "q35-secure-boot", virtual.Machine{Vendor: "Borealis", Model: "Edge 4", Firmware: "1.18"})
	if err != nil {
		return nil, err
	}
	replaced, err := eventlogtest.Remeasure(router.Booted, eventlogtest.BootLoader, nil)
	if err != nil {
		return nil, err
	}
	insecure, err := eventlogtest.Remeasure(router.Booted, eventlogtest.SecureBoot, eventlogtest.Off)
	if err != nil {
		return nil, err
	}
	with := func(booted, shown []byte) virtual.Machine {
		m := router
		m.Booted, m.Shown = booted, shown
		return m
	}
	implanted, liar, unlocked := with(replaced, nil), with(replaced, router.Booted), with(insecure, nil)
	unlocked.SecureBootOff = true
	unknown := server
	unknown.Model, unknown.Firmware = "Edge 5", "0.9-beta"
	roles := []role{
		{name: "oslo-core-1", group: "north", machine: router, want: result.Trusted},
		{name: "oslo-core-2", group: "north", machine: router, want: result.Trusted},
		{name: "bergen-access-1", group: "north", machine: implanted, want: result.Untrusted, chips: routerChips(true)},
		{name: "bergen-access-2", group: "north", machine: implanted, want: result.Untrusted, chips: routerChips(true)},
		{name: "tromso-access-1", group: "north", machine: liar, want: result.Untrusted},
		{name: "malmo-core-1", group: "south", machine: router, want: result.Trusted},
		{name: "malmo-access-1", group: "south", machine: unlocked, want: result.Untrusted},
		{name: "malmo-access-2", group: "south", machine: router, want: result.Stale, silent: true},
		{name: "lund-edge-1", group: "south", machine: server, want: result.Trusted, golden: "borealis-edge4-1.18"},
		{name: "lund-edge-2", group: "south", machine: server, want: result.Trusted},
		{name: "lund-edge-3", group: "south", machine: unknown, want: result.Unsupported},
	}
	for i := range roles {
		if r := &roles[i]; r.machine.Model == router.Model && r.chips == nil {
			r.chips = routerChips(false)
		}
	}
	return roles, nil
}
