//go:build linux

package boot

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
	"github.com/probity-attest/probity/verifier/e2e/boot/machine"
)

// footprint is what the agent costs the machine that it runs on.
type footprint struct {
	arch, board   string
	resident      int64         // peak, in bytes
	first, steady time.Duration // processor time
	firstBytes    uint64        // sent with the first report, with enrolment, TLS and everything below it
	steadyBytes   uint64        // sent with one of an unchanged machine, over a connection that stands
}

// printed collects footprints until all tests have run.
type printed struct {
	mu  sync.Mutex
	all []footprint
}

var footprints printed

func (p *printed) add(f footprint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, f)
}

func (p *printed) print(w io.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) == 0 {
		return
	}
	slices.SortFunc(p.all, func(a, b footprint) int { return strings.Compare(a.arch+a.board, b.arch+b.board) })
	fmt.Fprintln(w, "\nThe agent's footprint in emulated machines (processor time is many times that of real ones):")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ARCH\tBOARD\tRESIDENT\tCPU FIRST REPORT\tCPU STEADY REPORT\tSENT FIRST\tSENT STEADY")
	for _, f := range p.all {
		fmt.Fprintf(t, "%s\t%s\t%.1f MB\t%d ms\t%d ms\t%d bytes\t%d bytes\n", f.arch, f.board, float64(f.resident)/1e6,
			f.first.Milliseconds(), f.steady.Milliseconds(), f.firstBytes, f.steadyBytes)
	}
	t.Flush()
}

// TestFootprint measures the agent on one machine of each architecture: a first report with everything that it brings
// along, and one of a machine on which nothing changed.
func TestFootprint(t *testing.T) {
	everything(t)
	t.Parallel()
	x86 := newSystem(t, debian.X86, "amd64", machine.Q35)
	arm64 := newSystem(t, debian.ARM64, "arm64", machine.Virt)
	arm := newSystem(t, debian.ARMHF, "arm", machine.AST2600)
	set, arm64Set, armSet := debian.Need(t, debian.X86), debian.Need(t, debian.ARM64), debian.Need(t, debian.ARMHF)
	for _, tt := range []struct {
		arch string
		spec machine.Spec
	}{
		{"amd64", q35(set, x86.ukiDisk(t, nil))},
		{"arm64", machine.Spec{
			Board: machine.Virt, Firmware: arm64Set.AAVMF.Code, VarsTemplate: arm64Set.AAVMF.Variables, TPM: machine.TIS,
			Disk: arm64.ukiDisk(t, nil),
		}},
		{"armv7", machine.Spec{
			Board: machine.AST2600, Kernel: armSet.Kernel, Initrd: write(t, "initrd", arm.initrd(t)),
			Cmdline: machine.AST2600.Cmdline() + " rootfstype=ramfs",
			DTB:     filepath.Join(armSet.DeviceTrees, "aspeed-ast2600-evb.dtb"), Flash: write(t, "flash", []byte("empty")),
		}},
	} {
		t.Run(tt.arch, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			c := newComputer(t, w, tt.spec)
			c.flags = append(c.flags, "--flash-mode", "off", "--min-interval", "1s")
			c.boot()
			if tt.spec.TPM == machine.NoTPM {
				c.approve()
			} else {
				c.identify()
			}
			f := c.measure()
			f.arch, f.board = tt.arch, string(tt.spec.Board)
			footprints.add(f)
			if limit := int64(12 << 20); tt.arch != "amd64" && f.resident > limit {
				t.Errorf("the agent has %d bytes resident, want at most %d", f.resident, limit)
			}
		})
	}
}

// measure runs the agent as a daemon for a first and a steady report.
func (c *computer) measure() footprint {
	c.t.Helper()
	before := c.traffic()
	p, err := c.m.StartProcess(c.ctx(), guest.Run{Args: c.command("run")})
	if err != nil {
		c.t.Fatal(err)
	}
	c.awaitReports(p, 1)
	first, sent := c.status(p), c.traffic()
	f := footprint{first: first.User + first.System, firstBytes: sent - before}
	// Whatever the first report leaves to be done is done with the second; the third is steady.
	for n := range 2 {
		first, sent = c.status(p), c.traffic()
		c.w.Must("POST", "/v1/devices/"+c.id+"/attest", nil, nil)
		c.awaitReports(p, n+2)
	}
	last := c.status(p)
	f.resident, f.steady = last.PeakRSS, last.User+last.System-first.User-first.System
	f.steadyBytes = c.traffic() - sent
	if err := p.Signal(c.ctx(), syscall.SIGTERM); err != nil {
		c.t.Error(err)
	}
	if out, err := p.Wait(c.ctx(), attestTime); err != nil || out.Exit != 0 {
		c.t.Errorf("the agent ends with %+v, %v", out, err)
	}
	return f
}

// awaitReports waits until the agent has its nth receipt.
func (c *computer) awaitReports(p *machine.Process, n int) {
	c.t.Helper()
	c.w.Await(fmt.Sprintf("the agent has %d receipts", n), func() bool {
		out, err := p.Output(c.ctx())
		if err != nil {
			c.t.Fatal(err)
		}
		if out.Exit >= 0 {
			c.t.Fatalf("the agent ended with %d:\n%s", out.Exit, out.Stderr)
		}
		return bytes.Count(out.Stderr, []byte("evidence appraised")) >= n
	})
}

func (c *computer) traffic() uint64 {
	c.t.Helper()
	n, err := c.m.Traffic(c.ctx())
	if err != nil {
		c.t.Fatal(err)
	}
	return n.SentBytes
}

func (c *computer) status(p *machine.Process) guest.Status {
	c.t.Helper()
	s, err := p.Status(c.ctx())
	if err != nil {
		c.t.Fatal(err)
	}
	if !s.Running {
		out, _ := p.Output(c.ctx())
		c.t.Fatalf("the agent ended: %+v", out)
	}
	return s
}
