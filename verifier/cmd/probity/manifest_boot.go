package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/predict"
)

// bootFlags say what a device boots.
type bootFlags struct {
	firmware, vars, secureBoot, disk string
	loader                           string
	loaders                          []string
	uki, kernel, initrd, cmdline     string
	grubConfig, grubDevice           string
}

func (b *bootFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&b.firmware, "firmware", "", "`FILE` with the firmware's code, such as OVMF_CODE.fd, AAVMF_CODE.fd or u-boot.bin")
	f.StringVar(&b.vars, "vars", "", "`FILE` with the firmware's variables as shipped, such as OVMF_VARS.fd")
	f.StringVar(&b.secureBoot, "secure-boot", "", "`STATE` that devices run in: on or off (default: as the variables have it)")
	f.StringVar(&b.disk, "disk", "", "`FILE` or device that is booted from, for its partition table")
	f.StringVar(&b.loader, "loader", "", "`KIND` of what starts the kernel: uki, systemd-boot, grub or efi-stub (default: uki or efi-stub, if only they fit)")
	f.StringArrayVar(&b.loaders, "boot-loader", nil, "program before the kernel: `[PATH=]FILE`; several in the order in which they run")
	f.StringVar(&b.uki, "uki", "", "unified kernel image: `[PATH=]FILE`")
	f.StringVar(&b.kernel, "kernel", "", "kernel: `[PATH=]FILE`, with the path by which the boot loader opens it")
	f.StringVar(&b.initrd, "initrd", "", "initial RAM disk: `[PATH=]FILE`")
	f.StringVar(&b.cmdline, "cmdline", "", "kernel command line `TEXT` as the loader's entry has it, or @FILE")
	f.StringVar(&b.grubConfig, "grub-config", "", "GRUB's configuration: `[PATH=]FILE`")
	f.StringVar(&b.grubDevice, "grub-device", "", "file system `NAME` that GRUB starts from, as it names it (default hd0,gpt1)")
}

// bootInput reads what a device boots; nil: no flag says anything about it. The disk must be closed after use.
func (a *app) bootInput(cmd *cobra.Command, b *bootFlags) (*predict.Input, *os.File, error) {
	if b.firmware == "" && b.vars == "" && b.disk == "" && b.uki == "" && b.kernel == "" && len(b.loaders) == 0 {
		for _, name := range []string{"secure-boot", "loader", "initrd", "cmdline", "grub-config", "grub-device"} {
			if cmd.Flags().Changed(name) {
				return nil, nil, usagef(cmd, "--%s, but neither firmware nor anything that it boots is given", name)
			}
		}
		return nil, nil, nil
	}
	states := map[string]eventlog.SecureBootState{
		"": eventlog.SecureBootUnknown, "on": eventlog.SecureBootOn, "off": eventlog.SecureBootOff,
	}
	state, ok := states[b.secureBoot]
	if !ok {
		return nil, nil, usagef(cmd, "--secure-boot %q: want on or off", b.secureBoot)
	}
	in := &predict.Input{SecureBoot: state, Loader: predict.Loader(b.loader)}
	in.GRUB.Device = b.grubDevice
	if err := a.bootFiles(b, in); err != nil {
		return nil, nil, err
	}
	if in.Loader == "" && in.Kernel.Content != nil && len(in.BootLoaders) == 0 {
		in.Loader = predict.LoaderEFIStub
	}
	for flag, f := range map[string]predict.File{"kernel": in.Kernel, "initrd": in.Initrd} {
		if f.Content != nil && f.Path == "" && (in.Loader == predict.LoaderGRUB || in.Loader == predict.LoaderSystemdBoot) {
			return nil, nil, usagef(cmd, "--%s: %s measures by which path it opens it: want PATH=FILE, such as /boot/vmlinuz=vmlinuz",
				flag, in.Loader)
		}
	}
	if b.disk == "" {
		return in, nil, nil
	}
	disk, err := os.Open(b.disk)
	if err != nil {
		return nil, nil, fmt.Errorf("--disk: %w", err)
	}
	in.Disk = disk
	return in, disk, nil
}

// bootFiles reads the files.
func (a *app) bootFiles(b *bootFlags, in *predict.Input) error {
	for _, x := range []struct {
		flag, name string
		to         *[]byte
	}{{"firmware", b.firmware, &in.Firmware}, {"vars", b.vars, &in.Variables}} {
		if err := a.bootFile(x.flag, x.name, image.MaxSize, x.to); err != nil {
			return err
		}
	}
	if name, ok := strings.CutPrefix(b.cmdline, "@"); ok {
		var text []byte
		if err := a.bootFile("cmdline", name, predict.MaxCmdline, &text); err != nil {
			return err
		}
		in.Cmdline = strings.TrimRight(string(text), "\n")
	} else {
		in.Cmdline = b.cmdline
	}
	for i, text := range b.loaders {
		var f predict.File
		if err := a.program("boot-loader", text, &f); err != nil {
			return err
		}
		if f.Path == "" && i == 0 {
			f.Path = defaultBoot(f.Content)
		} else if f.Path == "" {
			f.Path = `\EFI\BOOT\` + baseName(text)
		}
		in.BootLoaders = append(in.BootLoaders, f)
	}
	if err := a.program("uki", b.uki, &in.UKI); err != nil {
		return err
	}
	for _, x := range []struct {
		flag, name string
		limit      int
		to         *predict.File
	}{
		{"uki", b.uki, predict.MaxProgram, &in.UKI},
		{"kernel", b.kernel, predict.MaxProgram, &in.Kernel},
		{"initrd", b.initrd, predict.MaxProgram, &in.Initrd},
		{"grub-config", b.grubConfig, predict.MaxScript, &in.GRUB.Config},
	} {
		if err := a.placedFile(x.flag, x.name, x.limit, x.to); err != nil {
			return err
		}
	}
	switch {
	case in.UKI.Content != nil && in.UKI.Path == "" && len(in.BootLoaders) == 0:
		in.UKI.Path = defaultBoot(in.UKI.Content)
	case in.UKI.Content != nil && in.UKI.Path == "":
		in.UKI.Path = `\EFI\Linux\` + baseName(b.uki)
	}
	return nil
}

func baseName(text string) string {
	_, file := splitPlaced(text)
	return filepath.Base(file)
}

// bootFile reads a file, if a flag names one.
func (a *app) bootFile(flag, name string, limit int, to *[]byte) error {
	if name == "" {
		return nil
	}
	b, err := a.readFile(name, limit)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	*to = b
	return nil
}

// placedFile reads [PATH=]FILE, if a flag names one.
func (a *app) placedFile(flag, text string, limit int, to *predict.File) error {
	var name string
	to.Path, name = splitPlaced(text)
	return a.bootFile(flag, name, limit, &to.Content)
}

// program reads [PATH=]FILE of an EFI program, if a flag names one.
func (a *app) program(flag, text string, to *predict.File) error {
	if err := a.placedFile(flag, text, predict.MaxProgram, to); err != nil || to.Content == nil {
		return err
	}
	if _, err := pecoff.Parse(to.Content); err != nil {
		return fmt.Errorf("--%s %s: want an EFI program: %w", flag, text, err)
	}
	return nil
}

// splitPlaced splits [PATH=]FILE. A file that is there counts as it is written.
func splitPlaced(text string) (path, file string) {
	path, file, ok := strings.Cut(text, "=")
	if !ok || exists(text) {
		return "", text
	}
	return path, file
}

// defaultBoot is where firmware looks for a program that no boot entry names (UEFI 2.10, section 3.5.1.1).
func defaultBoot(program []byte) string {
	const folder = `\EFI\BOOT\`
	f, err := pecoff.Parse(program)
	if err != nil {
		return folder + "BOOTX64.EFI" // the program is refused where it is read
	}
	switch f.Machine {
	case 0xaa64:
		return folder + "BOOTAA64.EFI"
	case 0x1c2:
		return folder + "BOOTARM.EFI"
	case 0x5064:
		return folder + "BOOTRISCV64.EFI"
	case 0x14c:
		return folder + "BOOTIA32.EFI"
	}
	return folder + "BOOTX64.EFI"
}

// maxValues is the largest file of PCR values in bytes.
const maxValues = 1 << 20

// readPCRs reads PCR values: what tpm2_pcrread prints, or lines "BANK INDEX HEX". Unknown banks are left out.
func (a *app) readPCRs(name string) ([]*pcr.Bank, error) {
	b, err := a.readFile(name, maxValues)
	if err != nil {
		return nil, err
	}
	var out []*pcr.Bank
	bank, n := "", 0
	for text := range strings.Lines(string(b)) {
		n++
		f := strings.Fields(strings.ReplaceAll(text, ":", " "))
		switch {
		case len(f) == 0:
			continue
		case len(f) == 1:
			bank = f[0]
			continue
		case len(f) == 2:
			f = append([]string{bank}, f...)
		}
		alg, err := pcr.ParseAlgorithm(f[0])
		if err != nil {
			continue
		}
		if err := setPCR(&out, alg, f[1:]); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", shownName(name), n, err)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no PCR values: want what tpm2_pcrread prints, or lines BANK INDEX HEX", shownName(name))
	}
	return out, nil
}

func setPCR(banks *[]*pcr.Bank, alg pcr.Algorithm, f []string) error {
	if len(f) != 2 {
		return errors.New("want BANK INDEX HEX")
	}
	i, err := strconv.Atoi(f[0])
	if err != nil {
		return fmt.Errorf("PCR %q: want a number", f[0])
	}
	value, err := hex.DecodeString(strings.TrimPrefix(strings.ToLower(f[1]), "0x"))
	if err != nil {
		return fmt.Errorf("PCR %d: %w", i, err)
	}
	k := slices.IndexFunc(*banks, func(b *pcr.Bank) bool { return b.Algorithm() == alg })
	if k < 0 {
		k = len(*banks)
		*banks = append(*banks, pcr.NewBank(alg))
	}
	return (*banks)[k].Set(i, value)
}
