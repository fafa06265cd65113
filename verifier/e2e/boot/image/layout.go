package image

import "fmt"

// loaders names what firmware starts from a disk, by an architecture's Go name (UEFI Specification 2.10, table 3.2).
var loaders = map[string]string{"amd64": "EFI/BOOT/BOOTX64.EFI", "arm64": "EFI/BOOT/BOOTAA64.EFI"}

// BootUKI returns the files of a disk that boots a unified kernel image.
func BootUKI(goarch string, uki []byte) (map[string][]byte, error) {
	name, ok := loaders[goarch]
	if !ok {
		return nil, fmt.Errorf("disk: no boot loader for architecture %q", goarch)
	}
	return map[string][]byte{name: uki}, nil
}

// BootSystemd returns the files of a disk that boots through systemd-boot, with an entry of type 1 (UAPI Group, Boot
// Loader Specification).
func BootSystemd(goarch string, loader, linux, initrd []byte, cmdline string) (map[string][]byte, error) {
	files, err := BootUKI(goarch, loader)
	if err != nil {
		return nil, err
	}
	entry := "title Probity\nlinux /probity/linux\ninitrd /probity/initrd\noptions " + cmdline + "\n"
	files["loader/loader.conf"] = []byte("timeout 0\ndefault probity.conf\n")
	files["loader/entries/probity.conf"] = []byte(entry)
	files["probity/linux"], files["probity/initrd"] = linux, initrd
	return files, nil
}

// BootGRUB returns the files of a disk that boots through Debian's shim and GRUB for amd64. The signed GRUB looks for
// its configuration in a folder with the distribution's name.
func BootGRUB(shim, grub, linux, initrd []byte, cmdline string) map[string][]byte {
	return map[string][]byte{
		loaders["amd64"]:       shim,
		"EFI/BOOT/grubx64.efi": grub,
		"EFI/debian/grub.cfg":  []byte("linux /probity/linux " + cmdline + "\ninitrd /probity/initrd\nboot\n"),
		"probity/linux":        linux,
		"probity/initrd":       initrd,
	}
}
