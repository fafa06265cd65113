//go:build linux

package boot

import (
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
	"github.com/probity-attest/probity/verifier/result"
)

// release returns the system with a file that says which release it is.
func (s *system) release(version string) *system {
	next := *s
	next.files = append(append([]image.File(nil), s.files...), image.File{Path: "/etc/release", Mode: 0o644, Data: []byte(version + "\n")})
	return &next
}

// TestLife is a machine's whole life.
func TestLife(t *testing.T) {
	everything(t)
	t.Parallel()
	healthy := newSystem(t, debian.X86, "amd64", machine.Q35)
	set := debian.Need(t, debian.X86)
	old, next := healthy.release("1.0").ukiDisk(t, nil), healthy.release("1.1").ukiDisk(t, nil)
	tampered := healthy.release("1.1")
	tampered.cmdline += " init=/bin/sh"
	w := newWorld(t, nil)

	// First boot: it enrols, and nothing is known of it. Reference values come from a machine in the vendor's lab.
	c := newComputer(t, w, q35(set, old))
	c.boot()
	c.attest(result.Unsupported)
	lab := newComputer(t, w, q35(set, old))
	lab.golden("release-1.0")
	c.attest(result.Trusted)

	// Update: the new release is made known before any device has it, and both are good for a while.
	lab.spec.Disk = next
	lab.boot()
	lab.attest(result.Untrusted) // nobody has said yet that 1.1 is good
	w.Baseline(lab.id, "release-1.1")
	lab.attest(result.Trusted)
	lab.off()
	c.boot()
	c.attest(result.Trusted)
	c.spec.Disk = next
	c.boot()
	c.attest(result.Trusted)

	// The old release is no longer good: going back to it is refused, and told as what it is.
	w.Must("DELETE", "/v1/baselines/release-1.0", nil, nil)
	c.attest(result.Trusted)
	c.spec.Disk = old
	c.boot()
	back := c.attest(result.Untrusted)
	wantFindings(t, back,
		"boot-event-changed PCR 4 (boot loader), boot application",
		"boot-event-changed PCR 9 (files read by the boot loader), tagged event Linux initrd",
		"boot-event-changed PCR 11 (unified kernel image), systemd-stub section .initrd")
	if near := back.Findings[0].Nearest; !strings.Contains(near, "release-1.0") || !strings.Contains(near, "retired") {
		t.Errorf("nearest reference values = %q, want release-1.0, retired", near)
	}

	// Tampered: untrusted, and its certificate is not renewed when the time comes.
	c.spec.Disk = tampered.ukiDisk(t, nil)
	c.boot()
	c.attest(result.Untrusted)
	serial := w.Device(c.id).CertificateSerial
	c.later()
	out, err := c.m.Run(c.ctx(), guest.Run{Args: c.command("run", "--once", "--timeout", attestTime.String()), Timeout: attestTime})
	if err != nil {
		t.Fatal(err)
	}
	if out.Exit == 0 || !strings.Contains(string(out.Stderr), "renewal-withheld") {
		t.Errorf("the agent exits with %d, want that renewal is withheld:\n%s", out.Exit, out.Stderr)
	}
	if now := w.Device(c.id).CertificateSerial; now != serial || len(w.Events(c.id, "renewal-withheld")) == 0 {
		t.Errorf("certificate %s, before %s; want no other, and an event", now, serial)
	}

	// Repaired: it is trusted again by itself, and gets its certificate.
	c.spec.Disk = next
	c.boot()
	c.attest(result.Trusted)
	c.later()
	c.attest(result.Trusted)
	if now := w.Device(c.id).CertificateSerial; now == serial {
		t.Errorf("certificate %s is still that of before the repair", now)
	}
}

// later sets the guest's clock to when its certificate is due for renewal.
func (c *computer) later() {
	c.t.Helper()
	if err := c.m.SetTime(c.ctx(), time.Now().Add(c.w.Config.Enrollment.CertificateLifetime*3/4)); err != nil {
		c.t.Fatal(err)
	}
}
