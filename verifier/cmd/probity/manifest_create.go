package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/shipment"
	"github.com/probity-attest/probity/firmware/shipment/rootfs"
)

// creation are the flags of manifest create.
type creation struct {
	about  manifest.Manifest
	from   moment
	until  moment
	retire []string // --supersedes
	recall []string // --withdraws
	boot   bootFlags
	layout string
	images []string
	roots  []string
	all    bool
	merge  string
	logs   logFlags
	take   []int
	out    string
	strict bool
}

// logFlags name boot logs and what their TPMs had.
type logFlags struct{ files, values []string }

const createLong = `Make a manifest of what a vendor ships, without a device and without a verifier. It is not signed: see probity manifest sign.

Boot: --firmware, --vars and what the firmware starts (--uki; or --boot-loader, --kernel, --initrd, --cmdline with --loader;
--disk for its partition table) tell which events a boot measures. The table says which PCRs are known completely, which in
part and why. Files are written as PATH=FILE where it matters at which path the device has them.

Flash: --image with a --layout that lists regions, and in each the ranges that differ between devices, with the reason:

  regions:
    - name: bios
      source: mtd:bios
      exclude:
        - {offset: 0x40000, length: 256KiB, reason: NVRAM variables}

Files: --rootfs takes folders, tar archives, initial RAM disks and Debian packages, laid over each other in this order. Of
them, what IMA measures under ima_policy=tcb is listed: programs, libraries, kernel modules, device firmware, scripts.

--from-log adds what images don't tell from the boot log of a device that is known to be good, such as volumes that depend on
the memory's size. With --pcrs (the output of tpm2_pcrread, or lines "BANK INDEX HEX") the log is verified against what the
TPM had; without, it is only parsed. Where images and log contradict each other, the images count, and the table tells it;
--take-from-log names PCRs in which the log's other events are allowed too.`

const createExample = `  probity manifest create --vendor Acme --model R7 --version 2.5.0 --svn 7 --min-svn 5 --valid-until 2028-12-31 \
      --firmware OVMF_CODE.fd --vars OVMF_VARS.fd --uki r7.efi --disk r7.img \
      --image flash.bin --layout layout.yaml --rootfs r7-root.tar.zst -O r7-2.5.0.corim
  probity manifest create --vendor Acme --model G2 --version 1.0 --loader grub --firmware AAVMF_CODE.fd \
      --boot-loader shimaa64.efi --boot-loader grubaa64.efi --grub-config grub.cfg --kernel /boot/vmlinuz=vmlinuz \
      --initrd /boot/initrd.img=initrd.img --cmdline 'root=/dev/vda1 quiet' \
      --rootfs base.tar --rootfs acme-agent.deb -O g2.corim
  probity manifest create --vendor Acme --model R7 --version 2.5.0 --from-log golden.bin --pcrs golden.pcrs -O r7.corim`

func (a *app) manifestCreateCommand() *cobra.Command {
	n := &creation{}
	c := &cobra.Command{
		Use: "create -O FILE", Short: "Make a manifest of firmware, flash images, kernels and root file systems", Args: need(),
		Long: createLong, Example: createExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.createManifest(cmd, n) },
	}
	f := c.Flags()
	n.flags(c)
	n.boot.flags(f)
	f.StringArrayVar(&n.images, "image", nil, "content of a flash memory: `FILE`, or SOURCE=FILE if the layout has several sources")
	f.StringVar(&n.layout, "layout", "", "`FILE` (YAML) with the regions of the flash and their excluded ranges")
	f.StringArrayVar(&n.roots, "rootfs", nil, "root file system: `PATH` of a folder, tar archive, initial RAM disk or Debian package")
	f.BoolVar(&n.all, "all-files", false, "list every regular file, not only what is run or mapped")
	f.StringVar(&n.merge, "usr-merge", "auto", "whether /bin, /lib and /sbin are links into /usr: `auto`, yes or no")
	f.StringArrayVar(&n.logs.files, "from-log", nil, "boot log `FILE` of a device that is known to be good")
	f.StringArrayVar(&n.logs.values, "pcrs", nil, "PCR values `FILE` of the device, one for each --from-log")
	f.IntSliceVar(&n.take, "take-from-log", nil, "`PCRS` in which events of the log are allowed that the images don't predict, such as 2,3")
	return c
}

// flags are those that state what the manifest is of; import has them too.
func (n *creation) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&n.about.ID, "id", "", "`ID` of the manifest (default: vendor/model/version)")
	f.StringVar(&n.about.Vendor, "vendor", "", "`NAME` of the vendor, as devices report it")
	f.StringVar(&n.about.Model, "model", "", "`NAME` of the model, as devices report it")
	f.StringVar(&n.about.Version, "version", "", "`VERSION` of the firmware")
	f.Uint64Var(&n.about.SVN, "svn", 0, "security version number `N` of this version; it rises when a hole is closed")
	f.Uint64Var(&n.about.MinSVN, "min-svn", 0, "lowest security version number `N` that is safe to run")
	f.Var(&n.from, "valid-from", "first `TIME` at which the manifest counts, such as 2026-12-31; needs --valid-until")
	f.Var(&n.until, "valid-until", "`TIME` from which on it no longer counts")
	f.StringArrayVar(&n.retire, "supersedes", nil, "`ID` of an older manifest that retires, or ID=TIME: until then both are valid")
	f.StringArrayVar(&n.recall, "withdraws", nil, "`ID=REASON` of a manifest that was wrong")
	f.StringVarP(&n.out, "out", "O", "", "`FILE` to write, - is stdout")
	f.BoolVar(&n.strict, "strict", false, "write nothing, and exit with code 1, if there are warnings or contradictions")
}

// complete fills in what several flags say together.
func (n *creation) complete(cmd *cobra.Command) error {
	m := &n.about
	for name, value := range map[string]string{"--vendor": m.Vendor, "--model": m.Model, "--version": m.Version, "-O": n.out} {
		if value == "" {
			return usagef(cmd, "%s is missing", name)
		}
	}
	if m.ID == "" {
		m.ID = strings.ToLower(strings.ReplaceAll(m.Vendor+"/"+m.Model+"/"+m.Version, " ", "-"))
	}
	m.NotBefore, m.NotAfter = n.from.Time, n.until.Time
	for _, s := range n.retire {
		id, until, timed := strings.Cut(s, "=")
		x := manifest.Supersession{ID: id}
		if timed {
			var t moment
			if err := t.Set(until); err != nil {
				return usagef(cmd, "--supersedes %s: %v", s, err)
			}
			x.Until = t.Time
		}
		m.Supersedes = append(m.Supersedes, x)
	}
	for _, s := range n.recall {
		id, reason, ok := strings.Cut(s, "=")
		if !ok || reason == "" {
			return usagef(cmd, "--withdraws %s: want ID=REASON", s)
		}
		m.Withdraws = append(m.Withdraws, manifest.Withdrawal{ID: id, Reason: reason})
	}
	return nil
}

func (a *app) createManifest(cmd *cobra.Command, n *creation) error {
	if err := n.complete(cmd); err != nil {
		return err
	}
	in := shipment.Input{About: n.about, RootFS: n.roots, Files: rootfs.Config{All: n.all}}
	merge, ok := map[string]rootfs.Merge{"auto": rootfs.MergeAuto, "yes": rootfs.MergeYes, "no": rootfs.MergeNo}[n.merge]
	if !ok {
		return usagef(cmd, "--usr-merge %q: want auto, yes or no", n.merge)
	}
	in.Files.Merge = merge
	for _, i := range n.take {
		if i < 0 || i >= pcr.Count {
			return usagef(cmd, "--take-from-log %d: want PCRs from 0 to %d", i, pcr.Count-1)
		}
		in.FromLogs |= pcr.Select(i)
	}
	boot, disk, err := a.bootInput(cmd, &n.boot)
	if err != nil {
		return err
	}
	if disk != nil {
		defer disk.Close()
	}
	in.Boot = boot
	if in.Logs, err = a.readLogs(cmd, n.logs); err != nil {
		return err
	}
	closeImages, err := n.flash(&in)
	defer closeImages()
	if err != nil {
		return err
	}
	return a.buildManifest(cmd.Context(), n, in)
}

// flash opens the layout and the images.
func (n *creation) flash(in *shipment.Input) (closeAll func(), err error) {
	var files []*os.File
	closeAll = func() {
		for _, f := range files {
			_ = f.Close() // opened for reading
		}
	}
	if n.layout != "" {
		if in.Layout, err = flash.LoadLayout(n.layout); err != nil {
			return closeAll, fmt.Errorf("--layout: %w", err)
		}
	}
	for _, text := range n.images {
		image := shipment.Image{}
		name := text
		if left, right, ok := strings.Cut(text, "="); ok && !exists(text) {
			if image.Source, err = flash.ParseSource(left); err != nil {
				return closeAll, fmt.Errorf("--image %s: %w", text, err)
			}
			name = right
		}
		f, size, err := openRegular(name)
		if err != nil {
			return closeAll, fmt.Errorf("--image: %w", err)
		}
		files = append(files, f)
		image.Content, image.Size = f, uint64(size)
		in.Images = append(in.Images, image)
	}
	return closeAll, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func openRegular(name string) (*os.File, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err == nil && info.Size() == 0 {
		err = fmt.Errorf("%s: empty", name)
	}
	if err != nil {
		_ = f.Close() // nothing was read
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// readLogs reads boot logs, and the PCR values that go with them.
func (a *app) readLogs(cmd *cobra.Command, l logFlags) ([]shipment.Log, error) {
	if len(l.values) > 0 && len(l.values) != len(l.files) {
		return nil, usagef(cmd, "%d --pcrs for %d --from-log: give one for each, in the same order", len(l.values), len(l.files))
	}
	var out []shipment.Log
	for i, name := range l.files {
		b, err := a.readFile(name, eventlog.MaxSize)
		if err != nil {
			return nil, fmt.Errorf("--from-log: %w", err)
		}
		log := shipment.Log{Name: filepath.Base(name), Content: b} // no path of this machine gets into a manifest
		if len(l.values) > 0 {
			if log.PCRs, err = a.readPCRs(l.values[i]); err != nil {
				return nil, fmt.Errorf("--pcrs: %w", err)
			}
		}
		out = append(out, log)
	}
	return out, nil
}

// redrawEvery is how often a meter is drawn.
const redrawEvery = 100 * time.Millisecond

// buildManifest makes the manifest, writes it and tells what it is worth.
func (a *app) buildManifest(ctx context.Context, n *creation, in shipment.Input) error {
	meter := a.meter()
	var drawn time.Time
	in.Progress = func(p shipment.Progress) {
		if now := time.Now(); now.Sub(drawn) >= redrawEvery {
			drawn = now
			meter.at(p.Step, p.Done, p.Total)
		}
	}
	m, report, err := shipment.Build(ctx, in)
	meter.end()
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	b, err := manifest.Encode(m)
	if err != nil {
		return err
	}
	return a.finishManifest(n, m, report, b)
}
