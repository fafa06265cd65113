// Package agent is the Attester (RFC 9334, section 3.1): it reads what a device booted and runs, has the TPM sign it and
// reports it to one verifier. This package only wires the parts below it together, and makes reports of what they read.
//
// The agent opens every file read-only, executes nothing, listens on no port, and writes only its certificate (and,
// without a TPM, its key) to its state directory. A reader that fails becomes a value of the evidence; only without any
// identity there is nothing to say.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/probity-attest/probity/agent/charter"
	"github.com/probity-attest/probity/agent/collect"
	"github.com/probity-attest/probity/agent/link"
	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/proto/daemon"
)

// Agent is an opened device. Make one with Open, close it after use.
type Agent struct {
	cfg     Config
	version string
	log     *slog.Logger
	device  link.Device
	report  *reporter
	flash   *collect.Flash            // nil: none is read
	running atomic.Pointer[link.Link] // nil: not yet
	profile string                    // of the EK
	closers []io.Closer
}

// Open checks the configuration and opens the device's identity. version is the agent's own.
func Open(cfg Config, version string, log *slog.Logger) (*Agent, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	allowed, err := charter.Load(cfg.Charter)
	if err != nil {
		return nil, err
	}
	c := collect.New(collect.Config{Root: cfg.Root})
	a := &Agent{cfg: cfg, version: version, log: log}
	a.report = &reporter{collect: c, charter: allowed, agent: version}
	platform := func() (proto.Platform, *proto.Unavailable) {
		p, un := allowed.Platform(c.Platform())
		p.Devices = nil // the inventory is evidence: an introduction, which is not fresh, does without
		return p, un
	}
	if cfg.Identity == IdentitySoftware {
		err = a.openSoftware(platform)
	} else {
		err = a.openTPM(platform)
	}
	if err == nil {
		err = a.openHardware(allowed)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// openHardware begins to read flash and to watch the enclosure, both in the background.
func (a *Agent) openHardware(allowed *charter.Charter) error {
	lines, err := collect.ParseTamperLines(a.cfg.Tamper)
	if err != nil {
		return err
	}
	if len(lines) > 0 && allowed.Tamper() != nil {
		for _, l := range lines {
			a.report.withheld = append(a.report.withheld, proto.TamperLine{Name: l.Name, Unavailable: allowed.Tamper()})
		}
	} else if len(lines) > 0 {
		t := collect.NewTamper(collect.Config{Root: a.cfg.Root}, lines, a.log)
		a.closers, a.report.tamper = append(a.closers, t), t
	}
	layout, err := a.cfg.Flash.layout()
	if err != nil || a.cfg.Flash.Mode == FlashOff {
		return err
	}
	a.report.reads = true
	if allowed.Flash() != nil { // what may not leave is not read
		return nil
	}
	a.flash = collect.NewFlash(collect.FlashConfig{
		Root: a.cfg.Root, Layout: layout, Rate: int64(a.cfg.Flash.Rate), Interval: a.cfg.Flash.Interval, Log: a.log,
		Status: a.status, Changed: a.reportSoon,
	})
	a.closers, a.report.flash, a.report.wait = append(a.closers, a.flash), a.flash, a.cfg.Flash.Wait
	return nil
}

// reportSoon brings the next report forward: flash was read that the last one did not have, or had otherwise.
func (a *Agent) reportSoon() {
	if l := a.running.Load(); l != nil {
		l.ReportSoon()
	}
}

// status tells systemd how things stand.
func (a *Agent) status(s string) {
	if err := daemon.Status(s); err != nil {
		a.log.Warn("systemd", "reason", err)
	}
}

func (a *Agent) openTPM(platform func() (proto.Platform, *proto.Unavailable)) error {
	t, err := tpm.Open(a.cfg.TPM)
	if err != nil {
		return fmt.Errorf("%w (a device without a TPM can be enrolled with --identity software: it is never better than "+
			"\"warning\")", err)
	}
	return a.useTPM(t, platform)
}

// useTPM makes an opened TPM the identity, and the agent its owner.
func (a *Agent) useTPM(t transport.TPMCloser, platform func() (proto.Platform, *proto.Unavailable)) error {
	a.closers = append(a.closers, t)
	opened, err := tpm.New(t)
	if err != nil {
		return fmt.Errorf("TPM %s: %w", a.cfg.TPM, err)
	}
	a.closers = append(a.closers, opened)
	e := opened.Endorsement()
	for _, note := range e.Notes {
		a.log.Warn("endorsement key", "note", note)
	}
	a.report.tpm, a.profile = opened, e.Profile
	a.device = &tpmDevice{
		hardware: opened, endorsement: e.Public, certificates: e.Certificates, agent: a.version, platform: platform,
	}
	return nil
}

func (a *Agent) openSoftware(platform func() (proto.Platform, *proto.Unavailable)) error {
	key, err := stateDir(a.cfg.StateDir).softwareKey()
	if err != nil {
		return err
	}
	d, err := newSoftwareDevice(key)
	if err != nil {
		return err
	}
	d.agent, d.platform = a.version, platform
	a.log.Warn("identity is a key on disk, not a TPM: this device is never better than \"warning\"", "device", d.ID())
	a.device, a.report.key = d, d
	return nil
}

// Close gives the TPM and the lines of the enclosure back, and ends the reading of flash.
func (a *Agent) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i].Close())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// ID returns the device id.
func (a *Agent) ID() string { return a.device.ID() }

// Run reports to the verifier until ctx ends, which is no error. It tells systemd how things stand.
func (a *Agent) Run(ctx context.Context) error {
	l, err := a.link(a.status)
	if err != nil {
		return err
	}
	a.running.Store(l)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watchdog := make(chan error, 1)
	go func() {
		watchdog <- daemon.Watchdog(ctx, func(context.Context) error { return l.Healthy() })
	}()
	// Ready means that the device can attest, not that the verifier can be reached: that may take days.
	if err := daemon.Ready(); err != nil {
		a.log.Warn("systemd", "reason", err)
	}
	a.log.Info("agent started", "version", a.version, "device", a.ID(), "may_leave", a.report.charter.String())
	err = l.Run(ctx)
	stop()
	return errors.Join(err, <-watchdog, daemon.Stopping())
}

// Report answers a challenge that did not come over the link, such as that of a measurement.
func (a *Agent) Report(ctx context.Context, c *proto.Challenge) (*link.Report, error) {
	return a.report.Report(ctx, c)
}

// Once reports once and returns the verifier's receipt. It waits for flash before it asks for a challenge, since there is
// no second report to bring what the first one lacks.
func (a *Agent) Once(ctx context.Context) (*proto.Receipt, error) {
	l, err := a.link(nil)
	if err != nil {
		return nil, err
	}
	if a.flash != nil {
		a.flash.Wait(ctx, a.cfg.Flash.Wait)
	}
	return l.Once(ctx)
}

func (a *Agent) link(status func(string)) (*link.Link, error) {
	cfg, err := a.cfg.link()
	if err != nil {
		return nil, err
	}
	cfg.Agent, cfg.Device, cfg.Attester, cfg.Log, cfg.OnStatus = a.version, a.device, a.report, a.log, status
	cfg.Capturer = a.report
	return link.New(cfg)
}
