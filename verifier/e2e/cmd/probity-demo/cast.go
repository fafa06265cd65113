package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/result"
)

// role is a device of the demo and what must come of it.
type role struct {
	name    string
	story   string
	machine virtual.Machine
	want    result.State
	code    string // of the finding that must say what is wrong
	golden  bool   // the operator trusts it and takes the reference values from it
	silent  bool   // its agent is stopped
}

// machineName is the captured machine that all devices are: shim, GRUB and a kernel under Secure Boot, with an IMA list.
const machineName = "q35-grub"

// cast returns the devices of the demo. testdata is the folder of the captured logs.
func cast(testdata string) ([]role, error) {
	read := func(kind, file string) ([]byte, error) {
		b, err := os.ReadFile(filepath.Join(testdata, kind, file))
		if err != nil {
			return nil, fmt.Errorf("captured machine: %w: run the demo in the project's folder", err)
		}
		return b, nil
	}
	log, err := read("eventlogs", machineName+".bin")
	if err != nil {
		return nil, err
	}
	cmdline, err := read("eventlogs", machineName+".cmdline")
	if err != nil {
		return nil, err
	}
	list, err := read("ima", machineName+".bin")
	if err != nil {
		return nil, err
	}
	backdoor, err := eventlogtest.Remeasure(log, eventlogtest.BootLoader, nil)
	if err != nil {
		return nil, err
	}
	insecure, err := eventlogtest.Remeasure(log, eventlogtest.SecureBoot, eventlogtest.Off)
	if err != nil {
		return nil, err
	}
	healthy := virtual.Machine{
		Vendor: "Acme", Model: "R7", Firmware: "2.4.1", Booted: log, IMA: list,
		CommandLine: strings.TrimSpace(string(cmdline)),
	}
	with := func(booted, shown []byte) virtual.Machine {
		m := healthy
		m.Booted, m.Shown = booted, shown
		return m
	}
	off := with(insecure, nil)
	off.SecureBootOff = true
	return []role{
		{name: "golden", story: "healthy; the operator trusts it", machine: healthy, want: result.Trusted, golden: true},
		{name: "healthy", story: "healthy; never seen before", machine: healthy, want: result.Trusted},
		{name: "backdoor", story: "its boot loader was replaced", machine: with(backdoor, nil), want: result.Untrusted, code: "boot-event-changed"},
		{name: "liar", story: "the same, and its log was edited to hide it", machine: with(backdoor, log), want: result.Untrusted, code: "boot-log-mismatch"},
		{name: "unlocked", story: "Secure Boot was turned off", machine: off, want: result.Untrusted, code: "secure-boot-off"},
		{name: "silent", story: "healthy, then its agent is stopped", machine: healthy, want: result.Stale, code: "silent", silent: true},
	}, nil
}
