package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// charter says what the device's owner lets leave.
func (d *device) charter(content string) {
	d.w.t.Helper()
	d.cfg.Charter = filepath.Join(d.v.Root, "charter.yaml")
	if err := os.WriteFile(d.cfg.Charter, []byte(content), 0o600); err != nil {
		d.w.t.Fatal(err)
	}
}

const generous = "allow: [boot-log, ima, platform, tamper, flash, flash-content.boot]\n"

func (d *device) capture(region string) v1.Capture {
	d.w.t.Helper()
	var c v1.Capture
	d.w.Must(http.MethodPost, "/v1/devices/"+d.id+"/captures", v1.NewCapture{Region: region}, &c)
	return c
}

func (d *device) captured(c v1.Capture) v1.Capture {
	d.w.t.Helper()
	d.w.Must(http.MethodGet, fmt.Sprintf("/v1/devices/%s/captures/%d", d.id, c.ID), nil, &c)
	return c
}

// ended waits for the end of a capture.
func (d *device) ended(c v1.Capture, want string) v1.Capture {
	d.w.t.Helper()
	d.w.Await("capture ended", func() bool {
		c = d.captured(c)
		return c.State != "asked" && c.State != "running"
	})
	if c.State != want {
		d.w.t.Fatalf("capture %+v, want it %s", c, want)
	}
	return c
}

// raw gets the bytes of a capture.
func (d *device) raw(c v1.Capture) []byte {
	d.w.t.Helper()
	var all []byte
	for len(all) < int(c.Held) {
		req, err := http.NewRequest(http.MethodGet,
			fmt.Sprintf("%s/v1/devices/%s/captures/%d/raw?offset=%d", d.w.URL, d.id, c.ID, len(all)), nil)
		if err != nil {
			d.w.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+d.w.Bearer)
		res, err := d.w.HTTP.Do(req)
		if err != nil {
			d.w.t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || len(b) == 0 {
			d.w.t.Fatalf("raw: %s, %d bytes, %v", res.Status, len(b), err)
		}
		all = append(all, b...)
	}
	return all
}

// attested runs the device's agent and waits for its first result.
func (d *device) attested() (stop func()) {
	d.w.t.Helper()
	stop = d.run()
	d.w.Await("first result", func() bool { return d.w.Device(d.id).LastSeen != nil })
	return stop
}

// TestCapture: the raw bytes of a flagged device's flash, signed by its TPM, as far as its owner lets them leave.
func TestCapture(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.cfg.MinInterval = 50 * time.Millisecond
	good, bad := strings.Repeat("boot0000 loader ", 20_000), strings.Repeat("boot0000 l0ader ", 20_000)
	d.flash(good)
	d.charter(generous)
	d.attest(result.Unsupported)
	d.baseline("r7")
	d.flash(bad)
	d.attested()
	w.Await("untrusted", func() bool { return w.Device(d.id).State == result.Untrusted })

	c := d.ended(d.capture("boot"), "done")
	sum := sha256.Sum256([]byte(bad))
	if got := d.raw(c); !bytes.Equal(got, []byte(bad)) || c.Digest != hex.EncodeToString(sum[:]) || len(c.Quote) == 0 {
		t.Errorf("%d bytes came with the digest %s, want those of the flash: excluded ones too", len(got), c.Digest)
	}
	if c.Reported != "same" {
		t.Errorf("reported = %q, want that the report told the same", c.Reported)
	}
	if got := w.Events(d.id, "capture-done"); len(got) != 1 {
		t.Errorf("events = %+v", got)
	}

	// What the device reported is not what is there now: it, or somebody, changed it since.
	d.flash(good)
	if c := d.ended(d.capture("boot"), "done"); c.Reported != "differs" || string(d.raw(c)) != good {
		t.Errorf("capture = %+v, want it to differ from the report", c)
	}

	// The charter names one region only; nothing that the verifier says widens it.
	if c := d.ended(d.capture("modem"), "refused"); !strings.Contains(c.Reason, "not-allowed") || c.Held != 0 {
		t.Errorf("capture = %+v, want that the charter refuses", c)
	}
	if c := d.ended(d.capture("boot\x1b[2J\u202e"), "refused"); !strings.Contains(c.Reason, "not-allowed") || strings.Contains(c.Reason, "\x1b") {
		t.Errorf("capture = %+v, want that the charter refuses", c)
	}
	if n := len(w.Events(d.id, "capture-refused")); n != 2 {
		t.Errorf("%d events of refusals, want 2", n)
	}
	var similar v1.SimilarFindings
	w.Must(http.MethodGet, "/v1/devices/"+d.id+"/similar", nil, &similar)
	if len(similar.Findings) == 0 || similar.Findings[0].Others != 0 {
		t.Errorf("similar = %+v, want the findings of a device that is alone", similar)
	}
}

// TestCaptureNeedsACharter: a device whose owner said nothing sends no raw byte.
func TestCaptureNeedsACharter(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.flash("boot0000 loader")
	d.attested()
	if c := d.ended(d.capture("boot"), "refused"); !strings.Contains(c.Reason, "charter") || c.Held != 0 {
		t.Errorf("capture = %+v, want that it needs a charter", c)
	}
}

// TestCaptureInterrupted: the verifier, then the agent, ends in the middle. The capture goes on where it stopped.
func TestCaptureInterrupted(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB: 4 s at the rate
	d.flash(string(content))
	d.charter(generous)
	d.cfg.MinInterval, d.cfg.Flash.Rate, d.cfg.Flash.Wait = 50*time.Millisecond, 256<<10, 0
	stop := d.attested()
	c := d.capture("boot")
	held := func(n uint32) func() bool {
		return func() bool { c = d.captured(c); return c.Held >= n && c.State == "running" }
	}
	w.Await("a part came", held(1))
	w.Stop()
	w.Start()
	first := d.captured(c).Held
	w.Await("more came after the verifier's restart", held(first+1))
	stop()
	second := d.captured(c).Held
	if second < first {
		t.Errorf("%d bytes are held after %d: what had come was lost", second, first)
	}
	d.run()
	c = d.ended(c, "done")
	if got := d.raw(c); !bytes.Equal(got, content) {
		t.Errorf("%d bytes came, other ones than the flash's %d", len(got), len(content))
	}
}
