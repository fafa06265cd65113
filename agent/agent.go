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
	profile string // of the EK
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
	platform := func() (proto.Platform, *proto.Unavailable) { return allowed.Platform(c.Platform()) }
	if cfg.Identity == IdentitySoftware {
		err = a.openSoftware(platform)
	} else {
		err = a.openTPM(platform)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
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

// Close gives the TPM back.
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
	l, err := a.link(func(s string) {
		if err := daemon.Status(s); err != nil {
			a.log.Warn("systemd", "reason", err)
		}
	})
	if err != nil {
		return err
	}
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

// Once reports once and returns the verifier's receipt.
func (a *Agent) Once(ctx context.Context) (*proto.Receipt, error) {
	l, err := a.link(nil)
	if err != nil {
		return nil, err
	}
	return l.Once(ctx)
}

func (a *Agent) link(status func(string)) (*link.Link, error) {
	cfg, err := a.cfg.link()
	if err != nil {
		return nil, err
	}
	cfg.Agent, cfg.Device, cfg.Attester, cfg.Log, cfg.OnStatus = a.version, a.device, a.report, a.log, status
	return link.New(cfg)
}
