package e2e

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier"
	"github.com/probity-attest/probity/verifier/result"
)

// TestLife is a device's life: enrolment, reference values, a reboot, an implant, the way back.
func TestLife(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.attest(result.Unsupported)
	if got := w.Device(d.id); got.Level != result.Certified || got.Model != "R7" || got.State != result.Unsupported {
		t.Errorf("device = %+v, want a certified R7 that is unsupported", got)
	}
	d.baseline("r7-2.4.1")
	d.attest(result.Trusted)
	d.attest(result.Trusted)

	// Another one of the model was never golden and is trusted at once.
	other := w.device(w.CA, healthy(t))
	other.attest(result.Trusted)

	// A reboot is not an attack.
	if err := d.v.Boot(healthy(t)); err != nil {
		t.Fatal(err)
	}
	d.attest(result.Trusted)

	// A file is swapped while the machine runs.
	if err := d.v.Ran("/bin/busybox", sha256.Sum256([]byte("implant"))); err != nil {
		t.Fatal(err)
	}
	r := d.attest(result.Untrusted)
	if len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], "/bin/busybox") {
		t.Errorf("reasons = %q, want the first to name /bin/busybox", r.Reasons)
	}
	// It stays so although the entry is not sent again, until the machine boots clean.
	d.attest(result.Untrusted)
	if err := d.v.Boot(healthy(t)); err != nil {
		t.Fatal(err)
	}
	d.attest(result.Trusted)
	if n := len(w.Events(d.id, "state-changed")); n < 4 {
		t.Errorf("%d events of changed state, want at least 4", n)
	}
}

func TestBadDevices(t *testing.T) {
	w := newWorld(t, nil)
	golden := w.device(w.CA, healthy(t))
	golden.attest(result.Unsupported)
	golden.baseline("r7-2.4.1")

	good := healthy(t).Booted
	backdoor := remeasured(t, good, eventlogtest.BootLoader, nil)
	tests := []struct {
		name         string
		boot, show   []byte
		code, within string
	}{
		{"boot loader replaced", backdoor, nil, "boot-event-changed", "PCR 4 (boot loader)"},
		{"and the log edited to hide it", backdoor, good, "boot-log-mismatch", "PCR 4 (boot loader)"},
		{"Secure Boot off", remeasured(t, good, eventlogtest.SecureBoot, eventlogtest.Off), nil, "secure-boot-off", "PCR 7"},
		{"another firmware", testdata(t, "eventlogs", "uki-firmware.bin"), nil, "boot-event-changed", "PCR 0 (firmware)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := healthy(t)
			m.Booted, m.Shown = tt.boot, tt.show
			d := w.device(w.CA, m)
			d.attest(result.Untrusted)
			for _, f := range w.Newest(d.id).Findings {
				if f.Code == tt.code && strings.Contains(f.Component, tt.within) {
					return
				}
			}
			t.Errorf("no finding %s about %s in %+v", tt.code, tt.within, w.Newest(d.id).Findings)
		})
	}
}

func TestIdentityLevels(t *testing.T) {
	t.Run("first use", func(t *testing.T) {
		w := newWorld(t, nil)
		d := w.device(nil, healthy(t))
		d.attest(result.Unsupported)
		if got := w.Device(d.id).Level; got != result.FirstUse {
			t.Errorf("level = %s, want first-use", got)
		}
	})
	t.Run("pinned by approval", func(t *testing.T) {
		w := newWorld(t, func(c *verifier.Config) { c.Enrollment.FirstUse = false })
		d := w.device(nil, healthy(t))
		a := d.open()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		w.Must(http.MethodPost, "/v1/devices/"+d.id+"/approve", nil, nil)
		d.attest(result.Unsupported)
		if got := w.Device(d.id).Level; got != result.Pinned {
			t.Errorf("level = %s, want pinned", got)
		}
	})
	t.Run("unknown waits", func(t *testing.T) {
		w := newWorld(t, func(c *verifier.Config) { c.Enrollment.FirstUse = false })
		d := w.device(nil, healthy(t))
		stop := d.run()
		w.Await("the device is pending", func() bool { return w.Device(d.id).Status == "pending" })
		stop()
		if got := w.Device(d.id).State; got != result.NeverAttested {
			t.Errorf("state = %s, want never-attested", got)
		}
	})
	t.Run("software", func(t *testing.T) {
		w := newWorld(t, nil)
		d := w.device(nil, healthy(t))
		d.cfg.Identity = "software"
		a := d.open()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		w.Must(http.MethodPost, "/v1/devices/"+d.id+"/approve", nil, nil)
		r := d.attest(result.Warning)
		if got := w.Device(d.id).Level; got != result.Software {
			t.Errorf("level = %s, want software", got)
		}
		if len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], "no TPM") {
			t.Errorf("reasons = %q, want that the device has no TPM", r.Reasons)
		}
	})
}

// TestPublishedResult: what is retained on a device's result topic is an EAR that a relying party verifies offline.
func TestPublishedResult(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.attest(result.Unsupported)
	ears := make(chan string, 1)
	o := mqtt.NewClientOptions().AddBroker("tls://" + w.Config.MQTT.Listen).SetClientID("relying-party").SetTLSConfig(w.TLS()).
		SetUsername("operator").SetPassword(w.Bearer).SetOnConnectHandler(func(c mqtt.Client) {
		c.Subscribe(proto.Results("default"), 1, func(_ mqtt.Client, m mqtt.Message) { ears <- string(m.Payload()) })
	})
	c := mqtt.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("relying party: %v", token.Error())
	}
	defer c.Disconnect(0)
	var ear string
	select {
	case ear = <-ears:
	case <-time.After(patience):
		t.Fatal("no result is retained")
	}
	if newest := w.Newest(d.id).EAR; ear != newest {
		t.Error("another result is retained than the newest")
	}
	b, err := os.ReadFile(filepath.Join(w.Config.StateDir, "keys", "signing.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	r, err := result.Verify(ear, publicKey(t, key), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if r.Device != d.id || r.State != result.Unsupported {
		t.Errorf("result of %s is %s, want of %s unsupported", r.Device, r.State, d.id)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.attest(result.Unsupported)
	req, err := http.NewRequest(http.MethodGet, w.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Bearer)
	res, err := w.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`probity_devices{state="unsupported"} 1`, `probity_devices{state="trusted"} 0`,
		`probity_evidence_total{outcome="unsupported"} 1`, `probity_evidence_total{outcome="wanted"} 1`,
		"probity_challenges_total 1", `probity_messages_ignored_total{reason="malformed"} 0`,
	} {
		if !strings.Contains(string(b), want+"\n") {
			t.Errorf("metrics lack %q:\n%s", want, b)
		}
	}
	if strings.Contains(string(b), d.id) {
		t.Error("a metric names a device")
	}
}

// TestSilenceBecomesStale, by itself and across a restart of the verifier (ATTACKS row 12).
func TestSilenceBecomesStale(t *testing.T) {
	w := newWorld(t, func(c *verifier.Config) { c.Policy.StaleAfter = 2 * time.Second })
	d := w.device(w.CA, healthy(t))
	d.attest(result.Unsupported)
	d.baseline("r7")
	d.attest(result.Trusted)
	w.Await("the device is stale", func() bool { return w.Device(d.id).State == result.Stale })
	w.Await("its silence was written down", func() bool {
		return len(w.Events(d.id, "state-changed")) > 0 && strings.Contains(w.Events(d.id, "state-changed")[0].Detail, "stale")
	})

	d.attest(result.Trusted)
	if got := w.Device(d.id).State; got == result.Stale {
		t.Error("the device attested and is still stale")
	}
	w.Stop() // it falls silent while nobody watches
	w.Start()
	w.Await("the device is stale after the restart", func() bool { return w.Device(d.id).State == result.Stale })
	d.attest(result.Trusted)
}

// TestRestart: what was known is known again, and the next report is incremental.
func TestRestart(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.attest(result.Unsupported)
	d.baseline("r7")
	first := d.attest(result.Trusted)
	w.Stop()
	w.Start()
	second := d.attest(result.Trusted)
	if first.Evidence == second.Evidence {
		t.Error("the same evidence twice")
	}
	if got := w.Newest(d.id).IMAEntries; got == 0 {
		t.Error("no IMA entries after the restart")
	}
}

// TestUntrustedCertificateIsNotRenewed: attestation gates the network, and the device comes back by itself.
func TestUntrustedCertificateIsNotRenewed(t *testing.T) {
	w := newWorld(t, nil)
	golden := w.device(w.CA, healthy(t))
	golden.attest(result.Unsupported)
	golden.baseline("r7")
	m := healthy(t)
	m.Booted = remeasured(t, m.Booted, eventlogtest.BootLoader, nil)
	d := w.device(w.CA, m)
	d.attest(result.Untrusted)
	serial := w.Device(d.id).CertificateSerial
	if err := os.RemoveAll(d.cfg.StateDir); err != nil { // the agent lost its certificate: it has to ask for a new one
		t.Fatal(err)
	}
	if _, err := d.once(); err == nil || !strings.Contains(err.Error(), "untrusted") {
		t.Errorf("once = %v, want that renewal is withheld because the device is untrusted", err)
	}
	if got := w.Device(d.id).CertificateSerial; got != serial {
		t.Error("an untrusted device got a new certificate")
	}
}

func TestRemovedDeviceIsUnknown(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.attest(result.Unsupported)
	w.Must(http.MethodDelete, "/v1/devices/"+d.id, nil, nil)
	if got := w.Device(d.id); got.ID != "" {
		t.Errorf("a removed device is still shown: %+v", got)
	}
	// Its certificate is worthless; with a valid token it may enrol anew.
	d.attest(result.Unsupported)
	if got := w.Device(d.id); got.ID != d.id {
		t.Error("the device did not enrol again")
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t, nil)
	var token struct{ Token string }
	w.Must(http.MethodPost, "/v1/tokens", map[string]any{"uses": 1}, &token)
	first, second := w.device(w.CA, healthy(t)), w.device(w.CA, healthy(t))
	first.cfg.Token, second.cfg.Token = token.Token, token.Token
	first.attest(result.Unsupported)
	if _, err := second.once(); err == nil || !strings.Contains(err.Error(), "probity token create") {
		t.Errorf("a used token: %v, want what to do", err)
	}
	second.cfg.Token = "pbt1.default.0011223344556677." + strings.Repeat("A", 43)
	if _, err := second.once(); err == nil {
		t.Error("a made-up token lets a device in")
	}
	second.cfg.Token = ""
	if _, err := second.once(); err == nil {
		t.Error("no token lets a device in")
	}
}

func TestWrongFingerprint(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.cfg.CAFingerprint = "sha256:" + strings.Repeat("00", 32)
	_, err := d.once()
	if err == nil || !strings.Contains(err.Error(), w.Fingerprint) {
		t.Errorf("once = %v, want an error that names the verifier's fingerprint %s", err, w.Fingerprint)
	}
}

// TestConfiguredHosts: a verifier with names of its own is still reached by the operator on its machine.
func TestConfiguredHosts(t *testing.T) {
	w := newWorld(t, func(c *verifier.Config) { c.Hosts = []string{"verifier.example"} })
	if line := w.Output(); !strings.Contains(line, "mqtts://verifier.example:") {
		t.Errorf("devices are told %q, want the configured name", line)
	}
	w.Must(http.MethodGet, "/v1/devices", nil, nil) // over TLS, whose certificate must name this address
}

// TestRunningAgent: an agent that runs sends small reports and follows the verifier's rhythm.
func TestRunningAgent(t *testing.T) {
	w := newWorld(t, func(c *verifier.Config) { c.Policy.Interval = time.Second })
	d := w.device(w.CA, healthy(t))
	d.cfg.MinInterval = 100 * time.Millisecond
	d.run()
	w.Await("three results", func() bool {
		var r struct{ Results []struct{ Seq int64 } }
		return w.Call(http.MethodGet, "/v1/devices/"+d.id+"/results", nil, &r) == nil && len(r.Results) >= 3
	})
	before := w.Newest(d.id).Seq
	w.Must(http.MethodPost, "/v1/devices/"+d.id+"/attest", nil, nil)
	w.Await("a new result", func() bool { return w.Newest(d.id).Seq > before })
	d.baseline("r7")
	w.Await("the device is trusted", func() bool { return w.Device(d.id).State == result.Trusted })
}

func publicKey(t *testing.T, key any) *ecdsa.PublicKey {
	t.Helper()
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key of type %T", key)
	}
	return &k.PublicKey
}
