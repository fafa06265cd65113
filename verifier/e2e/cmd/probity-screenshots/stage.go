package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"github.com/probity-attest/probity/agent"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/shipment"
	"github.com/probity-attest/probity/verifier"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/result"
)

// Times of the stage. In the field, intervals are minutes.
const (
	interval   = 2 * time.Second
	staleAfter = 20 * time.Second
	patience   = 2 * time.Minute // for any one step
	pollEvery  = 300 * time.Millisecond
)

// shownHost is the name that the pictures show for the verifier.
const shownHost = "verifier.acme.example"

// stage is a running verifier with its devices.
type stage struct {
	out      io.Writer
	started  time.Time
	dir      string
	layout   string // file with flashLayout
	ca       *tpmtest.CA
	cfg      verifier.Config
	verifier *verifier.Verifier
	printed  buffer
	log      *slog.Logger
	logFile  *os.File
	stop     context.CancelFunc
	running  errgroup.Group
	http     *http.Client
	url      string
	token    string // of the operator on this machine
	devices  []*device
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
	s := &stage{out: out, started: time.Now(), cfg: verifier.DefaultConfig(), stop: func() {}}
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
	s.cfg.StateDir, s.cfg.Enrollment.Roots = filepath.Join(s.dir, "verifier"), filepath.Join(s.dir, "tpm-roots")
	s.cfg.MQTT.Listen, s.cfg.API.Listen = "127.0.0.1:0", "127.0.0.1:0"
	s.cfg.Hosts = []string{shownHost, "127.0.0.1"}
	s.cfg.Policy.Interval, s.cfg.Policy.StaleAfter = interval, staleAfter
	if err := os.MkdirAll(s.cfg.Enrollment.Roots, 0o755); err != nil {
		return s, err
	}
	if err := errors.Join(s.ca.WriteRoot(s.cfg.Enrollment.Roots), s.ca.WriteIntermediate(s.cfg.Enrollment.Roots)); err != nil {
		return s, err
	}
	return s, s.start(ctx)
}

// start starts the verifier and waits until it can hear devices.
func (s *stage) start(ctx context.Context) error {
	var err error
	if s.verifier, err = verifier.New(ctx, s.cfg, "1.5.0", s.log); err != nil {
		return err
	}
	ctx, s.stop = context.WithCancel(ctx)
	ended := make(chan error, 1)
	s.running.Go(func() error {
		err := s.verifier.Run(ctx, &s.printed)
		ended <- err
		return err
	})
	select {
	case <-s.verifier.Ready():
	case err := <-ended:
		return fmt.Errorf("the verifier ended: %w", err)
	case <-time.After(patience):
		return errors.New("the verifier did not start")
	}
	s.url = "https://" + s.verifier.APIAddr()
	b, err := os.ReadFile(filepath.Join(s.cfg.StateDir, "operator.yaml"))
	if err != nil {
		return err
	}
	var operator struct{ Token string }
	if err := yaml.Unmarshal(b, &operator); err != nil {
		return err
	}
	s.token = operator.Token
	ca, err := os.ReadFile(filepath.Join(s.cfg.StateDir, "keys", "ca.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	s.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: patience}
	s.say("verifier started at %s", s.url)
	return nil
}

// Lines that the verifier prints on its first start.
var (
	setupCode = regexp.MustCompile(`with the code (\S+)\.`)
	enrolLine = regexp.MustCompile(`--ca-fingerprint (\S+) --token (\S+)`)
)

// enrol starts the devices and lets the operator do what operators do, until every verdict is the expected one.
func (s *stage) enrol(ctx context.Context) error {
	line := enrolLine.FindStringSubmatch(s.printed.String())
	if line == nil {
		return fmt.Errorf("the verifier printed no line for devices: %q", s.printed.String())
	}
	s.say("manufacturing and booting %d devices: each a TPM of its own, booted as a captured machine was", len(s.devices))
	var g errgroup.Group
	g.SetLimit(2)
	for _, d := range s.devices {
		g.Go(func() error { return s.boot(ctx, d, line[1], line[2]) })
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
	c.Verifier, c.CAFingerprint, c.Token = "mqtts://"+s.verifier.MQTTAddr(), fingerprint, token
	c.TPM, c.Root, c.StateDir, c.MinInterval = d.virtual.TPM.Socket, d.virtual.Root, d.virtual.StateDir(), interval
	if d.chips != nil {
		c.Flash.Mode, c.Flash.Layout = agent.FlashLayout, s.layout
	}
	for name, content := range d.chips {
		if err := d.virtual.Write(name, content); err != nil {
			return err
		}
	}
	a, err := agent.Open(c, "1.5.0", s.log.With("device", d.name))
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	d.id = a.ID()
	ctx, d.stop = context.WithCancel(ctx)
	s.running.Go(func() error { return errors.Join(a.Run(ctx), a.Close()) })
	return nil
}

// operate is what an operator and a vendor do: name the devices, take baselines, submit a manifest.
func (s *stage) operate(ctx context.Context) error {
	for _, d := range s.devices {
		patch := v1.DevicePatch{Label: &d.name, Group: &d.group, Labels: map[string]string{"jurisdiction": "eu"}}
		if err := s.call(ctx, http.MethodPatch, "/v1/devices/"+d.id, patch, nil); err != nil {
			return err
		}
	}
	for _, d := range s.devices {
		if d.golden == "" {
			continue
		}
		if err := s.call(ctx, http.MethodPost, "/v1/baselines", v1.NewBaseline{Device: d.id, Name: d.golden}, nil); err != nil {
			return err
		}
	}
	return s.publish(ctx)
}

// publish lets a vendor sign and submit a manifest of its routers.
func (s *stage) publish(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	in := v1.NewVendorKey{
		Name: "Acme", Role: "vendor", Public: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		Scope: v1.KeyScope{Vendors: []string{"Acme"}, Models: []string{"R*"}},
	}
	if err := s.call(ctx, http.MethodPost, "/v1/vendors", in, nil); err != nil {
		return err
	}
	m, _, err := shipment.Build(ctx, shipment.Input{
		About: manifest.Manifest{ID: "acme/r7/2.4.1", Vendor: "Acme", Model: "R7", Version: "2.4.1"},
		Logs:  []shipment.Log{{Name: "factory", Content: s.devices[0].machine.Booted}},
	})
	if err != nil {
		return err
	}
	unsigned, err := manifest.Encode(m)
	if err != nil {
		return err
	}
	signed, err := manifest.Sign(unsigned, key, manifest.Meta{Issuer: "https://firmware.acme.example"})
	if err != nil {
		return err
	}
	return s.call(ctx, http.MethodPost, "/v1/manifests", signed, nil)
}

// call asks the API as the operator. A []byte is a signed document, everything else JSON.
func (s *stage) call(ctx context.Context, method, path string, in, into any) error {
	kind := "application/json"
	body, signed := in.([]byte)
	if signed {
		kind = "application/cose"
	} else if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	if in != nil {
		req.Header.Set("Content-Type", kind)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

// await polls the verifier until every device is as it should be.
func (s *stage) await(ctx context.Context, what string, is func(*device, v1.Device) bool) error {
	deadline := time.Now().Add(patience)
	for {
		var waiting *device
		var state result.State
		for _, d := range s.devices {
			var got v1.Device
			if err := s.call(ctx, http.MethodGet, "/v1/devices/"+d.id, nil, &got); err != nil || !is(d, got) {
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
	s.stop()
	_ = s.running.Wait() // what ended badly was said where it mattered
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

// buffer collects what the verifier prints.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
