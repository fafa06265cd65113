package link

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
)

func TestRestartNeedsNoToken(t *testing.T) {
	r := newRig(t)
	r.cfg.Token = ""
	r.store.chain = r.ca.device(t, r.device)
	r.run()
	if l := r.login(); l.certificate != r.device.ID() {
		t.Errorf("device logs in as %+v, want with its certificate", l)
	}
	r.state(proto.StateReady)
}

func TestUnansweredHello(t *testing.T) {
	r := newRig(t)
	r.run()
	r.login()
	r.next(proto.UpEnroll)
	for _, wait := range []time.Duration{30, 60, 120} {
		r.clock.pass(t, wait*time.Second)
		r.next(proto.UpEnroll)
	}
	r.clock.pass(t, 240*time.Second)
	r.gone()
	r.clock.pass(t, time.Second)
	r.login()
	r.enroll(token)
	r.login()
	r.state(proto.StateReady)
}

func TestRenewal(t *testing.T) {
	r := newRig(t)
	r.run()
	r.login()
	r.enroll(token)
	r.login()
	r.state(proto.StateReady)
	c := r.challenge()
	r.receipt(r.evidence(c))
	first := r.store.chain[0]
	for elapsed := time.Duration(0); elapsed < 1100*time.Second; elapsed += 110 * time.Second { // Renew, spread by a tenth
		r.clock.pass(t, 110*time.Second)
		if elapsed == 990*time.Second {
			break
		}
		r.state(proto.StateReady)
		c := r.challenge()
		r.receipt(r.evidence(c))
	}
	// Renewal and report are due at the same time; the order does not matter.
	var up proto.EnrollUp
	var seen []proto.Leaf
	for len(seen) < 2 {
		select {
		case m := <-r.got:
			seen = append(seen, m.leaf)
			if m.leaf == proto.UpEnroll {
				r.decode(m.payload, &up)
			}
		case <-time.After(patience):
			t.Fatalf("only %v came", seen)
		}
	}
	if len(up.Hello) == 0 || up.Token != "" {
		t.Errorf("renewal says %+v, want a hello without token", up)
	}
	r.send(proto.DownEnroll, &proto.EnrollDown{Denied: &proto.EnrollDenied{Code: "contraindicated", Message: "untrusted", Retry: 20}})
	r.clock.pass(t, 22*time.Second)
	r.enroll("")
	c = r.challenge()
	r.receipt(r.evidence(c)) // the connection lived on
	if bytes.Equal(first, r.store.chain[0]) {
		t.Error("renewed certificate was not stored")
	}
}

func TestPendingThenApproved(t *testing.T) {
	r := newRig(t)
	r.run()
	r.login()
	r.next(proto.UpEnroll)
	r.send(proto.DownEnroll, &proto.EnrollDown{Pending: &proto.EnrollPending{Message: "wait", Retry: 60}})
	r.gone()
	r.clock.pass(t, 66*time.Second)
	r.login()
	r.enroll(token)
	r.login()
	r.state(proto.StateReady)
}

func TestDenied(t *testing.T) {
	r := newRig(t)
	r.run()
	r.login()
	r.next(proto.UpEnroll)
	r.send(proto.DownEnroll, &proto.EnrollDown{Denied: &proto.EnrollDenied{Code: "busy", Message: "later", Retry: 60}})
	r.gone()
	r.clock.pass(t, 66*time.Second)
	r.login()
	r.next(proto.UpEnroll)
	r.send(proto.DownEnroll, &proto.EnrollDown{Denied: &proto.EnrollDenied{Code: "token-used", Message: "the token is used up"}})
	err := r.end()
	var denied *DeniedError
	if !errors.As(err, &denied) || denied.Code != "token-used" || !strings.Contains(err.Error(), "the token is used up") {
		t.Errorf("Run = %v, want the denial with code and message", err)
	}
}

func TestRefusedToken(t *testing.T) {
	r := newRig(t)
	r.set(func() { r.refuseToken = true })
	r.run()
	if err := r.end(); err == nil || !strings.Contains(err.Error(), "enrolment token is not accepted") || strings.Contains(err.Error(), "secret") {
		t.Errorf("Run = %v, want that the token is not accepted, without the token", err)
	}
}

func TestRefusedCertificate(t *testing.T) {
	for name, refuse := range map[string]func(*verifier){
		"by the broker": func(v *verifier) { v.refuseDevice = true },
		"by TLS":        func(v *verifier) { v.refuseTLS = true },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.set(func() { refuse(r.verifier) })
			r.store.chain = r.ca.device(t, r.device)
			r.run()
			r.clock.pass(t, time.Second)
			for l := r.login(); l.clientID != "enroll-"+r.device.ID(); l = r.login() {
			}
			r.set(func() { r.refuseDevice, r.refuseTLS = false, false })
			r.enroll(token)
			r.login()
			r.state(proto.StateReady)
		})
	}
}

func TestForeignStoredCertificate(t *testing.T) {
	r := newRig(t)
	r.store.chain = r.ca.device(t, newDevice(t))
	r.run()
	if l := r.login(); l.username != r.device.ID() {
		t.Errorf("device logs in as %+v, want an enrolment", l)
	}
	r.cfg.Token = ""
	l, err := New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--token") {
		t.Errorf("Run without certificate and token = %v, want advice", err)
	}
}

func TestPinning(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	other := newAuthority(t)
	otherFile := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(otherFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, fingerprint, file, server string
		want                            []string // parts of the error; nil: accepted
	}{
		{"fingerprint", r.ca.fingerprint(), "", "", nil},
		{"file", "", file, "", nil},
		{"other fingerprint", other.fingerprint(), "", "", []string{r.ca.fingerprint(), other.fingerprint(), "configured is"}},
		{"other file", "", otherFile, "", []string{"certificate"}},
		{"other host", r.ca.fingerprint(), "", strings.Replace(r.cfg.Server, "127.0.0.1", "localhost", 1), []string{"localhost"}},
		{"other host, file", "", file, strings.Replace(r.cfg.Server, "127.0.0.1", "localhost", 1), []string{"localhost"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := r.cfg
			cfg.CAFingerprint, cfg.CAFile = tt.fingerprint, tt.file
			if tt.server != "" {
				cfg.Server = tt.server
			}
			l, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := l.open(t.Context(), nil)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("open = %v, want %q", err, tt.want)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("open = %v, want %q in it", err, part)
				}
			}
		})
	}
}

func TestNewRefusesConfigurations(t *testing.T) {
	good := Config{
		Server: "mqtts://h", CAFingerprint: "sha256:" + strings.Repeat("ab", 32), Token: token,
		Device: newDevice(t), Attester: &attester{},
	}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no server":      {func(c *Config) { c.Server = "" }, "mqtts://HOST:PORT"},
		"no TLS":         {func(c *Config) { c.Server = "mqtt://h" }, "only MQTT over TLS"},
		"path":           {func(c *Config) { c.Server = "mqtts://h/x" }, "more than host"},
		"no CA":          {func(c *Config) { c.CAFingerprint = "" }, "--ca-fingerprint"},
		"two CAs":        {func(c *Config) { c.CAFile = "x" }, "one of them"},
		"CA digits":      {func(c *Config) { c.CAFingerprint = "sha256:ab" }, "64 hexadecimal digits"},
		"CA file":        {func(c *Config) { c.CAFingerprint, c.CAFile = "", "/nonexistent" }, "/nonexistent"},
		"token":          {func(c *Config) { c.Token = "pbt1.s3cr3t" }, "pbt1.<tenant>"},
		"tenant":         {func(c *Config) { c.Tenant = "A" }, "a-z"},
		"another tenant": {func(c *Config) { c.Tenant = "other" }, "other"},
		"no device":      {func(c *Config) { c.Device = nil }, "required"},
	} {
		cfg := good
		tt.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: New = %v, want %q in it", name, err, tt.want)
		}
	}
}

// readOnly is a state directory that nothing can be written to.
type readOnly struct{ memory }

func (*readOnly) Save([][]byte) error { return errors.New("read-only file system") }

func TestReadOnlyStateDirectory(t *testing.T) {
	r := newRig(t)
	r.cfg.Certificates = &readOnly{}
	r.run()
	r.login()
	r.enroll(token)
	if l := r.login(); l.certificate != r.device.ID() {
		t.Errorf("device logs in as %+v, want with its certificate", l)
	}
	r.state(proto.StateReady)
}
