package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/probity-attest/probity/agent"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/shipment"
	"github.com/probity-attest/probity/verifier"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/e2e/world"
	"github.com/probity-attest/probity/verifier/result"
)

// Times of the stage. In the field, intervals are minutes.
const (
	interval   = 2 * time.Second
	staleAfter = 20 * time.Second
	patience   = 2 * time.Minute // for any one step
	pollEvery  = 300 * time.Millisecond
)

// What the pictures show as the verifier's name, and as the release of verifier and agents.
const (
	shownHost = "verifier.acme.example"
	release   = "1.5.0"
)

// stage is a running verifier with its devices.
type stage struct {
	*world.Operator

	out     io.Writer
	started time.Time
	dir     string
	layout  string // file with flashLayout
	ca      *tpmtest.CA
	cfg     verifier.Config
	hook    *httptest.Server // is told of alerts
	printed world.Buffer
	log     *slog.Logger
	logFile *os.File
	end     func() error   // ends the verifier
	running errgroup.Group // agents
	devices []*device
	vendor  *world.Signer
	update  []byte // manifest that the vendor signed and did not submit yet
}

// device is one role being played.
type device struct {
	role
	id      string
	virtual *virtual.Device
	stop    context.CancelFunc
}

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, args...))
}

// newStage starts a verifier that nobody has set up yet.
func newStage(ctx context.Context, testdata string, out io.Writer) (*stage, error) {
	s := &stage{out: out, started: time.Now(), end: func() error { return nil }}
	roles, err := cast(testdata)
	if err != nil {
		return nil, err
	}
	for _, r := range roles {
		s.devices = append(s.devices, &device{role: r})
	}
	if s.dir, err = os.MkdirTemp("", "probity-screenshots-"); err != nil {
		return nil, err
	}
	if s.logFile, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return s, err
	}
	s.log = slog.New(slog.NewTextHandler(s.logFile, nil))
	s.layout = filepath.Join(s.dir, "flash-layout.yaml")
	if err := os.WriteFile(s.layout, []byte(flashLayout), 0o600); err != nil {
		return s, err
	}
	if s.ca, err = tpmtest.NewCA("Acme TPM Works"); err != nil {
		return s, err
	}
	if s.cfg, err = world.Settings(s.dir, s.ca); err != nil {
		return s, err
	}
	s.cfg.Hosts, s.cfg.Alerts.AllowLocal = []string{shownHost, "127.0.0.1"}, true
	s.cfg.Policy.Interval, s.cfg.Policy.StaleAfter = interval, staleAfter
	s.hook = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	if _, s.end, err = world.Run(ctx, &s.cfg, release, s.log, &s.printed); err != nil {
		return s, err
	}
	s.Operator, err = world.Operate(&s.cfg)
	s.say("verifier started at %s", s.URL)
	return s, err
}

// setupCode finds what the verifier prints on its first start.
var setupCode = regexp.MustCompile(`with the code (\S+)\.`)

// enrol starts the devices and lets the operator do what operators do, until every verdict is the expected one.
func (s *stage) enrol(ctx context.Context) error {
	line := world.EnrolLine.FindStringSubmatch(s.printed.String())
	if line == nil {
		return fmt.Errorf("the verifier printed no line for devices: %q", s.printed.String())
	}
	s.say("manufacturing and booting %d devices: each a TPM of its own, booted as a captured machine was", len(s.devices))
	var g errgroup.Group
	g.SetLimit(2)
	for _, d := range s.devices {
		g.Go(func() error { return s.boot(ctx, d, line[2], line[3]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.await(ctx, "every device has attested", func(d *device, got v1.Device) bool { return got.LastSeen != nil }); err != nil {
		return err
	}
	if err := s.operate(ctx); err != nil {
		return err
	}
	for _, d := range s.devices {
		if d.silent {
			d.stop()
		}
	}
	return s.await(ctx, "every verdict is the expected one", func(d *device, got v1.Device) bool { return got.State == d.want })
}

// boot starts one device and its agent. Its TPM lives as long as ctx.
func (s *stage) boot(ctx context.Context, d *device, fingerprint, token string) error {
	var err error
	if d.virtual, err = virtual.Start(ctx, filepath.Join(s.dir, d.name), s.ca, d.machine); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	c := agent.Default()
	c.Verifier, c.CAFingerprint, c.Token = "mqtts://"+s.cfg.MQTT.Listen, fingerprint, token
	c.TPM, c.Root, c.StateDir, c.MinInterval = d.virtual.TPM.Socket, d.virtual.Root, d.virtual.StateDir(), interval
	if d.chips != nil {
		c.Flash.Mode, c.Flash.Layout = agent.FlashLayout, s.layout
	}
	for name, content := range d.chips {
		if err := d.virtual.Write(name, content); err != nil {
			return err
		}
	}
	a, err := agent.Open(c, release, s.log.With("device", d.name))
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	d.id = a.ID()
	ctx, d.stop = context.WithCancel(ctx)
	s.running.Go(func() error { return errors.Join(a.Run(ctx), a.Close()) })
	return nil
}

// operate is what an operator and a vendor do.
func (s *stage) operate(ctx context.Context) error {
	for _, d := range s.devices {
		patch := v1.DevicePatch{Label: &d.name, Group: &d.group, Labels: map[string]string{"jurisdiction": "eu"}}
		if err := s.Ask(ctx, http.MethodPatch, "/v1/devices/"+d.id, patch, nil); err != nil {
			return err
		}
	}
	for _, d := range s.devices {
		if d.golden == "" {
			continue
		}
		if err := s.Ask(ctx, http.MethodPost, "/v1/baselines", v1.NewBaseline{Device: d.id, Name: d.golden}, nil); err != nil {
			return err
		}
	}
	if err := s.Ask(ctx, http.MethodPut, "/v1/policy", v1.NewPolicy{Document: policyDocument}, nil); err != nil {
		return err
	}
	if err := s.Ask(ctx, http.MethodPost, "/v1/denylist", denial, nil); err != nil {
		return err
	}
	if err := s.publish(ctx); err != nil {
		return err
	}
	return s.beTold(ctx)
}

// publish lets a vendor sign and submit a manifest of its routers: what they boot, run and have in their flash memory.
func (s *stage) publish(ctx context.Context) error {
	var err error
	if s.vendor, err = s.AddSigner(ctx, "Acme", "R*"); err != nil {
		return err
	}
	layout, err := flash.ParseLayout([]byte(flashLayout))
	if err != nil {
		return err
	}
	in := shipment.Input{
		About:  manifest.Manifest{ID: "acme/r7/2.4.1", Vendor: "Acme", Model: "R7", Version: "2.4.1"},
		Layout: layout,
	}
	for name, content := range routerChips(false) {
		in.Images = append(in.Images, shipment.Image{
			Source: flash.Source{Kind: flash.File, Name: "/" + name}, Content: bytes.NewReader(content), Size: uint64(len(content)),
		})
	}
	m, err := world.Release(ctx, &s.device("oslo-core-1").machine, in)
	if err != nil {
		return err
	}
	if _, err = s.vendor.Submit(ctx, m); err != nil {
		return err
	}
	in.About = manifest.Manifest{
		ID: "acme/r7/2.5.0", Vendor: "Acme", Model: "R7", Version: "2.5.0", Supersedes: []manifest.Supersession{{ID: "acme/r7/2.4.1"}},
	}
	if m, err = world.Release(ctx, &s.device("bergen-access-1").machine, in); err != nil {
		return err
	}
	s.update, err = s.vendor.Sign(m)
	return err
}

// beTold has alerts of untrusted devices sent.
func (s *stage) beTold(ctx context.Context) error {
	channel := v1.AlertChannel{Name: "night shift", Kind: "webhook", Target: s.hook.URL + "/probity", Secret: "a key of sixteen letters"}
	if err := s.Ask(ctx, http.MethodPost, "/v1/alert-channels", channel, &channel); err != nil {
		return err
	}
	var list v1.AlertRules
	if err := s.Ask(ctx, http.MethodGet, "/v1/alert-rules", nil, &list); err != nil {
		return err
	}
	for i := range list.Rules {
		r := &list.Rules[i]
		r.Channels, r.Wait = []string{channel.ID}, int64(interval/time.Second)
		if err := s.Ask(ctx, http.MethodPut, "/v1/alert-rules/"+r.ID, r, nil); err != nil {
			return err
		}
	}
	return nil
}

// await polls the verifier until every device is as it should be.
func (s *stage) await(ctx context.Context, what string, is func(*device, v1.Device) bool) error {
	deadline := time.Now().Add(patience)
	for {
		var waiting *device
		var state result.State
		for _, d := range s.devices {
			var got v1.Device
			if err := s.Ask(ctx, http.MethodGet, "/v1/devices/"+d.id, nil, &got); err != nil || !is(d, got) {
				waiting, state = d, got.State
				break
			}
		}
		switch {
		case waiting == nil:
			s.say("%s", what)
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("waited %s until %s; device %s is %q", patience, what, waiting.name, state)
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// device returns the one that has a role.
func (s *stage) device(name string) *device {
	for _, d := range s.devices {
		if d.name == name {
			return d
		}
	}
	return nil
}

// close ends everything that was started. Where something went wrong, the log stays.
func (s *stage) close(failed bool) {
	for _, d := range s.devices {
		if d.stop != nil {
			d.stop()
		}
	}
	_ = errors.Join(s.end(), s.running.Wait()) // what ended badly was said where it mattered
	if s.hook != nil {
		s.hook.Close()
	}
	for _, d := range s.devices {
		if d.virtual != nil {
			_ = d.virtual.Stop()
		}
	}
	if s.logFile != nil {
		_ = s.logFile.Close()
	}
	if failed {
		s.say("the log of verifier and agents is in %s", s.dir)
		return
	}
	_ = os.RemoveAll(s.dir)
}
