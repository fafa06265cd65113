package virtual

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
)

// unpackAddress is where the machine's firmware unpacks its volumes, as OVMF does.
const unpackAddress = 0x820000

// Names of the files that Ship writes.
const (
	FlashFile  = "flash.bin"   // content of the flash chip: variables, firmware
	UKIFile    = "system.efi"  // unified kernel image
	RootFolder = "root"        // root file system
	LayoutFile = "layout.yaml" // regions of the flash
)

// Region is the flash region of a Product, and FlashPath where its machine shows the chip's content below Root.
const (
	Region    = "bios"
	FlashPath = "flash.bin"
)

// Product is a release of a machine's software as its vendor builds it: a firmware for the flash chip, a unified kernel
// image, and the programs of the root file system. All of it is generated; no program in it runs.
type Product struct {
	Version string
	Flash   []byte
	UKI     []byte
	Files   map[string][]byte // programs and libraries by absolute path

	kernel, release, cmdline, initrd []byte // what the UKI is made of
}

// NewProduct builds a release. Versions differ in all their parts.
func NewProduct(vendor, version string) (*Product, error) {
	p := &Product{
		Version: version,
		release: fmt.Appendf(nil, "NAME=%q\nID=%s\nVERSION_ID=%s\n", vendor+" OS", strings.ToLower(vendor), version),
		cmdline: []byte("console=ttyS0 ima_policy=tcb quiet"),
		initrd:  fmt.Appendf(nil, "070701 initial RAM disk of %s %s", vendor, version),
		kernel:  kernel(version),
		Files:   map[string][]byte{},
	}
	for _, name := range []string{"/usr/sbin/init", "/usr/sbin/routerd", "/usr/sbin/sshd", "/usr/lib/libcrypto.so.3", "/usr/lib/libc.so.6"} {
		p.Files[name] = fmt.Appendf([]byte("\x7fELF\x02\x01\x01"), " %s of %s %s", name, vendor, version)
	}
	var seed uint64
	for _, r := range version {
		seed = seed*31 + uint64(r)
	}
	var err error
	p.Flash, err = imagetest.Firmware(imagetest.Config{Size: 1 << 20, Modules: 24, Seed: seed, Address: unpackAddress})
	if err != nil {
		return nil, err
	}
	known := []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrsig", ".pcrpkey"}
	p.UKI = imagetest.UKI("252.39-1~deb12u2", known,
		imagetest.ProgramSection{Name: ".osrel", Data: p.release}, imagetest.ProgramSection{Name: ".cmdline", Data: p.cmdline},
		imagetest.ProgramSection{Name: ".linux", Data: p.kernel}, imagetest.ProgramSection{Name: ".initrd", Data: p.initrd})
	return p, nil
}

// kernel builds what looks like a Linux kernel whose EFI stub measures.
func kernel(version string) []byte {
	code := append([]byte("\xeb\x3eHdrS"), make([]byte, 58)...)
	return imagetest.Program(0x8664, 10, append(code, "LOADED_IMAGE::LoadOptions\x00Linux initrd\x00"+version...))
}

// Implanted returns the product with a driver added to the firmware's volume of drivers, as somebody would do it who can
// write to the flash chip.
func (p *Product) Implanted(g image.GUID, name string) (*Product, error) {
	flash, err := imagetest.Implant(p.Flash, imagetest.DXEVolume, g, name, imagetest.Program(0x8664, 11, []byte("implant")))
	if err != nil {
		return nil, err
	}
	out := *p
	out.Flash = flash
	return &out, nil
}

// Layout returns the flash layout as a vendor writes it. source is where a machine, or a vendor's tool, finds the chip.
func (p *Product) Layout(source string) []byte {
	return fmt.Appendf(nil, `regions:
  - name: %s
    source: %s
    length: %d
    exclude:
      - {offset: 0, length: 64KiB, reason: UEFI variables}
`, Region, source, len(p.Flash))
}

// Ship writes what the vendor builds into a folder.
func (p *Product) Ship(dir string) error {
	files := map[string][]byte{
		FlashFile: p.Flash, UKIFile: p.UKI, LayoutFile: p.Layout("mtd:" + Region),
	}
	for path, content := range p.Files {
		files[filepath.Join(RootFolder, path)] = content
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			return err
		}
	}
	return nil
}
