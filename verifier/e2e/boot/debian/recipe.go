package debian

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// recipe is what a set is made of.
type recipe struct {
	architecture string   // Debian's name of it
	kernel       string   // meta package that depends on the newest kernel; empty: none
	packages     []string // beside the kernel
	files        []file
}

// file is a file that a set must have, and where Set tells of it.
type file struct {
	name  string
	field func(*Set) *string
}

var (
	x86Packages = []string{"ovmf", "systemd-boot-efi", "shim-signed", "grub-efi-amd64-signed"}
	x86Files    = []file{
		{"usr/share/OVMF/OVMF_CODE_4M.fd", func(s *Set) *string { return &s.OVMF.Code }},
		{"usr/share/OVMF/OVMF_VARS_4M.fd", func(s *Set) *string { return &s.OVMF.Variables }},
		{"usr/share/OVMF/OVMF_CODE_4M.secboot.fd", func(s *Set) *string { return &s.OVMFMicrosoft.Code }},
		{"usr/share/OVMF/OVMF_VARS_4M.ms.fd", func(s *Set) *string { return &s.OVMFMicrosoft.Variables }},
		{"usr/share/OVMF/OVMF_CODE_4M.secboot.fd", func(s *Set) *string { return &s.OVMFSnakeoil.Code }},
		{"usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd", func(s *Set) *string { return &s.OVMFSnakeoil.Variables }},
		{"usr/share/ovmf/PkKek-1-snakeoil.key", func(s *Set) *string { return &s.SnakeoilKey }},
		{"usr/share/ovmf/PkKek-1-snakeoil.pem", func(s *Set) *string { return &s.SnakeoilCertificate }},
		{"usr/lib/systemd/boot/efi/linuxx64.efi.stub", func(s *Set) *string { return &s.SystemdStub }},
		{"usr/lib/systemd/boot/efi/systemd-bootx64.efi", func(s *Set) *string { return &s.SystemdBoot }},
		{"usr/lib/shim/shimx64.efi.signed", func(s *Set) *string { return &s.Shim }},
		{"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", func(s *Set) *string { return &s.GRUB }},
	}
)

var recipes = map[Name]recipe{
	X86:     {architecture: "amd64", kernel: "linux-image-cloud-amd64", packages: x86Packages, files: x86Files},
	X86Full: {architecture: "amd64", kernel: "linux-image-amd64", packages: x86Packages, files: x86Files},
	ARM64: {
		architecture: "arm64", kernel: "linux-image-cloud-arm64",
		packages: []string{"qemu-efi-aarch64", "u-boot-qemu", "systemd-boot-efi"},
		files: []file{
			{"usr/share/AAVMF/AAVMF_CODE.fd", func(s *Set) *string { return &s.AAVMF.Code }},
			{"usr/share/AAVMF/AAVMF_VARS.fd", func(s *Set) *string { return &s.AAVMF.Variables }},
			{"usr/lib/u-boot/qemu_arm64/u-boot.bin", func(s *Set) *string { return &s.UBoot }},
			{"usr/lib/systemd/boot/efi/linuxaa64.efi.stub", func(s *Set) *string { return &s.SystemdStub }},
			{"usr/lib/systemd/boot/efi/systemd-bootaa64.efi", func(s *Set) *string { return &s.SystemdBoot }},
		},
	},
	ARMHF: {architecture: "armhf", kernel: "linux-image-armmp"},
	Tools: {architecture: hostArchitecture(), packages: []string{"mtools", "dosfstools", "sbsigntool"}},
}

// hostArchitecture is Debian's name of the architecture that this program runs on.
func hostArchitecture() string {
	if runtime.GOARCH == "arm" {
		return "armhf"
	}
	return runtime.GOARCH // amd64, arm64, riscv64 and others have one name
}

// requested returns all packages of the recipe, in a fixed order.
func (r recipe) requested() []string {
	words := slices.Clone(r.packages)
	if r.kernel != "" {
		words = append(words, r.kernel)
	}
	slices.Sort(words)
	return words
}

// locate fills the paths of an unpacked set and checks that they exist.
func (r recipe) locate(s *Set) error {
	for _, f := range r.files {
		path := s.Path(f.name)
		if _, err := os.Stat(path); err != nil {
			return err
		}
		*f.field(s) = path
	}
	if r.kernel == "" {
		return nil
	}
	s.Kernel = s.Path("boot/vmlinuz-" + s.Release)
	if _, err := os.Stat(s.Kernel); err != nil {
		return err
	}
	// Where /lib is one with /usr/lib, packages have their modules below /usr.
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		if dir := s.Path(filepath.Join(lib, s.Release)); isDir(dir) {
			s.Modules = dir
		}
	}
	if s.Modules == "" {
		return fmt.Errorf("%s: no modules of kernel %s", s.Root, s.Release)
	}
	if dir := s.Path("usr/lib/linux-image-" + s.Release); isDir(dir) {
		s.DeviceTrees = dir
	}
	if r.architecture == "armhf" && s.DeviceTrees == "" {
		return fmt.Errorf("%s: no device trees of kernel %s", s.Root, s.Release)
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func sameWords(a, b []string) bool { return slices.Equal(slices.Sorted(slices.Values(a)), b) }
