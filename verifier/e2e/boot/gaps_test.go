//go:build linux

package boot

import (
	"testing"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier"
	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/image"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
	"github.com/probity-attest/probity/verifier/result"
)

// gap is a machine that cannot show everything: it attests what it can, says what it cannot and why, and is trusted only
// where a policy says so in so many words.
type gap struct {
	name   string
	banks  []pcr.Algorithm
	pack   func(t *testing.T) machine.Spec
	run    func(c *computer)
	found  []string // what keeps the machine from being trusted, with reference values
	allow  func(*verifier.Policy)
	strict result.State // with reference values, by the default policy
}

func TestGaps(t *testing.T) {
	everything(t)
	t.Parallel()
	x86 := newSystem(t, debian.X86, "amd64", machine.Q35)
	arm := newSystem(t, debian.ARM64, "arm64", machine.Virt)
	set, armSet := debian.Need(t, debian.X86), debian.Need(t, debian.ARM64)
	uki := x86.ukiDisk(t, nil)
	plain := func(*testing.T) machine.Spec { return q35(set, uki) }
	for _, g := range []gap{
		{
			name: "only a SHA-1 bank", banks: []pcr.Algorithm{pcr.SHA1}, pack: plain, strict: result.Unsupported,
			found: []string{"bank-weak PCR bank", "no-reference model "},
			allow: func(p *verifier.Policy) { p.Banks = []string{"sha256", "sha384", "sha1"} },
		},
		{
			name: "no event log", strict: result.Warning,
			pack: func(t *testing.T) machine.Spec { // GRUB without Secure Boot keeps the log from the kernel
				s := q35(set, disk(t, image.BootGRUB(read(t, set.Shim), read(t, set.GRUB), read(t, x86.linux), x86.initrd(t), x86.cmdline)))
				return s
			},
			found: []string{"boot-log-unavailable boot log"},
			allow: func(p *verifier.Policy) { p.BootLog = "ignored" },
		},
		{
			name: "no securityfs", pack: plain, strict: result.Warning,
			run: func(c *computer) {
				if err := c.m.Unmount(c.ctx(), "/sys/kernel/security"); err != nil {
					c.t.Fatal(err)
				}
			},
			found: []string{"boot-log-unavailable boot log", "ima-unavailable IMA list"},
			allow: func(p *verifier.Policy) { p.BootLog, p.IMA = "ignored", "ignored" },
		},
		{
			name: "IMA in bypass", strict: result.Warning,
			pack: func(t *testing.T) machine.Spec {
				return machine.Spec{
					Board: machine.Virt, Firmware: armSet.AAVMF.Code, VarsTemplate: armSet.AAVMF.Variables, TPM: machine.TIS,
					Disk: arm.ukiDisk(t, nil),
				}
			},
			found: []string{unbound},
			allow: func(p *verifier.Policy) { p.IMA = "ignored" },
		},
	} {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			g.check(t)
		})
	}
}

// check boots the machine once for each policy: the one that knows nothing of the gap, and the one that allows it.
func (g *gap) check(t *testing.T) {
	spec := g.pack(t)
	w := newWorld(t, nil)
	c := newComputer(t, w, spec, g.banks...)
	c.boot()
	if g.run != nil {
		g.run(c)
	}
	c.attest(result.Unsupported)
	if g.strict != result.Unsupported {
		w.Baseline(c.id, "gap")
	} else if err := w.Call("POST", "/v1/baselines", map[string]any{"device": c.id, "name": "gap"}, nil); err == nil {
		t.Error("a baseline was made of what proves nothing")
	}
	wantFindings(t, c.attest(g.strict), g.found...)
	c.off()

	w = newWorld(t, func(cfg *verifier.Config) { g.allow(&cfg.Policy) })
	c = newComputer(t, w, spec, g.banks...)
	c.boot()
	if g.run != nil {
		g.run(c)
	}
	c.attest(result.Unsupported)
	w.Baseline(c.id, "gap-allowed")
	wantFindings(t, c.attest(result.Trusted))
}
