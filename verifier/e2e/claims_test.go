package e2e

import (
	"crypto/sha256"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

const layout = `regions:
  - name: boot
    source: file:/flash/boot
    exclude: [{offset: 4, length: 4}]
  - name: modem
    source: file:/flash/modem
`

// flash gives the device a boot flash that its agent reads, and a modem that it cannot read.
func (d *device) flash(content string) {
	d.w.t.Helper()
	if err := d.v.Write("flash/boot", []byte(content)); err != nil {
		d.w.t.Fatal(err)
	}
	d.cfg.Flash.Mode, d.cfg.Flash.Layout = "layout", filepath.Join(d.v.Root, "layout.yaml")
	if err := os.WriteFile(d.cfg.Flash.Layout, []byte(layout), 0o600); err != nil {
		d.w.t.Fatal(err)
	}
}

func (d *device) finding(code string) result.Finding {
	d.w.t.Helper()
	newest := d.w.Newest(d.id)
	for _, f := range newest.Findings {
		if f.Code == code {
			return f
		}
	}
	d.w.t.Errorf("no finding %s among %+v", code, newest.Findings)
	return result.Finding{}
}

// TestSoftwareDevice: a device without a TPM says what is in its flash. It is compared, shown as self-asserted, and at
// best warning.
func TestSoftwareDevice(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.cfg.Identity = "software"
	d.cfg.Tamper = []string{"lid=gpiochip99:17:active-high"}
	d.flash("boot0000 loader")
	if err := d.v.Write("sys/bus/i2c/devices/3-0050/name", []byte("24c02\n")); err != nil {
		t.Fatal(err)
	}
	if err := d.open().Close(); err != nil {
		t.Fatal(err)
	}
	w.Must(http.MethodPost, "/v1/devices/"+d.id+"/approve", nil, nil)
	d.attest(result.Warning)
	d.finding("no-reference")
	d.finding("tamper-unavailable")

	var made v1.Baseline
	w.Must(http.MethodPost, "/v1/baselines", map[string]any{"device": d.id, "name": "soft"}, &made)
	if len(made.Notes) != 1 || !strings.Contains(made.Notes[0], "flash region modem") {
		t.Errorf("notes = %q, want that the modem could not be read", made.Notes)
	}
	d.attest(result.Warning)
	r := w.Newest(d.id)
	if r.Strength.Flash != result.SelfAsserted || r.Strength.Boot != result.None || r.Submods[result.Flash].Status() != "affirming" {
		t.Errorf("strength %+v, flash %+v", r.Strength, r.Submods[result.Flash])
	}
	if len(r.Regions) != 2 || r.Regions[0].Status != result.RegionSame || r.Regions[0].Left != 4 || r.Regions[1].Status != result.RegionUnavailable {
		t.Errorf("regions = %+v, want boot the same and modem unavailable", r.Regions)
	}

	d.flash("boot1111 loader") // only what is excluded
	d.attest(result.Warning)
	d.flash("boot0000 IMPLANT")
	d.attest(result.Untrusted)
	if f := d.finding("flash-geometry"); !strings.Contains(f.Component, "boot") {
		t.Errorf("finding = %+v, want of boot", f)
	}
	d.flash("boot0000 l0ader")
	d.attest(result.Untrusted)
	if f := d.finding("flash-changed"); f.Component != "flash region boot" || f.Expected == f.Observed {
		t.Errorf("finding = %+v, want of boot with two digests", f)
	}
	d.flash("boot0000 loader")
	if err := d.v.Write("sys/bus/i2c/devices/3-0051/name", []byte("implant\n")); err != nil {
		t.Fatal(err)
	}
	d.attest(result.Warning)
	if f := d.finding("inventory-unknown"); f.Component != "i2c 3-0051" {
		t.Errorf("finding = %+v, want of i2c 3-0051", f)
	}
}

// TestOnlyFlashSeesIt: what firmware does not measure changes no PCR; a device that reads its flash tells, and its word
// is worth more while the TPM vouches for the agent.
func TestOnlyFlashSeesIt(t *testing.T) {
	w := newWorld(t, nil)
	d := w.device(w.CA, healthy(t))
	d.flash("boot0000 loader")
	if err := d.v.Ran("/usr/bin/probity-agent", sha256.Sum256([]byte("agent"))); err != nil {
		t.Fatal(err)
	}
	d.attest(result.Unsupported)
	d.baseline("r7")
	d.attest(result.Trusted)
	if got := w.Newest(d.id).Strength; got.Flash != result.MeasuredAgent || got.Boot != result.Hardware {
		t.Errorf("strength = %+v, want flash by a measured agent", got)
	}
	d.flash("boot0000 l0ader")
	d.attest(result.Untrusted)
	d.finding("flash-changed")
	d.flash("boot0000 loader")
	d.attest(result.Trusted)
	if err := d.v.Ran("/tmp/probity-agent", sha256.Sum256([]byte("implant"))); err != nil {
		t.Fatal(err)
	}
	d.attest(result.Warning)
	if got := w.Newest(d.id).Strength; got.Flash != result.SelfAsserted {
		t.Errorf("strength = %+v, want flash self-asserted: another agent ran", got)
	}
}

// TestOldTPM: a TPM that has SHA-1 only attests what it can, and is not trusted unless the policy says so (ATTACKS row
// 57).
func TestOldTPM(t *testing.T) {
	for _, listed := range []bool{false, true} {
		w := newWorld(t, func(c *verifier.Config) {
			if listed {
				c.Policy.Banks = append(c.Policy.Banks, "sha1")
			}
		})
		m := healthy(t)
		m.Booted, m.IMA, m.Banks = testdata(t, "eventlogs", "direct-four-banks.bin"), nil, []pcr.Algorithm{pcr.SHA1}
		d := w.device(w.CA, m)
		d.attest(result.Unsupported)
		r := w.Newest(d.id)
		if r.Bank != "sha1" || len(r.PCRs) == 0 {
			t.Errorf("bank %q, %d PCRs: want the values explained", r.Bank, len(r.PCRs))
		}
		want := map[bool]result.Severity{false: result.Warn, true: result.Info}[listed]
		if f := d.finding("bank-weak"); f.Severity != want {
			t.Errorf("sha1 listed %t: severity %s, want %s", listed, f.Severity, want)
		}
		err := w.Call(http.MethodPost, "/v1/baselines", map[string]any{"device": d.id, "name": "old"}, nil)
		if listed {
			if err != nil {
				t.Fatal(err)
			}
			d.attest(result.Trusted)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "no basis of trust") {
			t.Errorf("baseline = %v, want a refusal", err)
		}
		d.attest(result.Unsupported)
	}
}
