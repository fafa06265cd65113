// Package debian gives the tests of real boots what they boot: kernels, firmware and boot loaders of Debian, downloaded
// once and unpacked into a cache. Nothing is installed, and apt's configuration is read but never changed.
//
// A package set is one folder of the cache. It is fetched with apt-get, whose lists are kept in the cache too, apart
// for every architecture, and unpacked with dpkg-deb. A set appears whole or not at all, processes that want the same
// one wait for each other, and a complete set is left as it is: it needs no network any more. To get newer packages,
// remove the set's folder.
//
// Only the distribution's own sources are asked, no third party's. Where a set can't be had (no network, no apt-get, a
// version that left the archive, a full disk), the error is a *MissingError; Need turns it into a visible skip.
package debian

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Name names a package set.
type Name string

// The package sets, with about what is downloaded.
const (
	// X86 has Debian's cloud kernel for amd64, OVMF, systemd-boot and its stub, shim and GRUB (25 MB).
	X86 Name = "x86"
	// X86Full is X86 with the full kernel, which has modules for flash chips, SPI and I2C (85 MB).
	X86Full Name = "x86-full"
	// ARM64 has the cloud kernel for arm64, AAVMF, U-Boot, systemd-boot and its stub (30 MB).
	ARM64 Name = "arm64"
	// ARMHF has the kernel for 32-bit ARM boards and their device trees (40 MB).
	ARMHF Name = "armhf"
	// Tools has independent programs for checking disks and signatures, for this machine (1 MB).
	Tools Name = "tools"
)

// Set is a package set in the cache. Its fields are full paths of files that exist; those that the set does not have
// are empty.
type Set struct {
	Name     Name
	Root     string    // the packages' files, as below "/" of a machine
	Packages []Package // in the order of their names

	Release     string // of the kernel, as uname -r tells it
	Kernel      string // image with an EFI stub; ARMHF: zImage
	Modules     string // folder lib/modules/RELEASE
	DeviceTrees string // folder with the boards' *.dtb (ARMHF)

	OVMF          Flash  // without Secure Boot
	OVMFMicrosoft Flash  // Secure Boot with Microsoft's keys; needs SMM
	OVMFSnakeoil  Flash  // Secure Boot with the key below; needs SMM
	AAVMF         Flash  // for arm64, without Secure Boot
	UBoot         string // u-boot.bin for arm64's virt

	SystemdStub, SystemdBoot string // of systemd-boot-efi
	Shim, GRUB               string // with the signatures of Microsoft and Debian

	// The key that OVMFSnakeoil trusts, encrypted in PEM, and its certificate. They are public knowledge.
	SnakeoilKey, SnakeoilCertificate string
}

// Flash is a firmware in two flash chips, as EDK II builds it.
type Flash struct {
	Code      string // read-only
	Variables string // a blank or prepared variable store: copy it before use
}

// Package is an unpacked package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
}

// Path returns the full path of a file of the packages, given as on a machine that has them installed.
func (s *Set) Path(name string) string { return filepath.Join(s.Root, filepath.FromSlash(name)) }

// MissingError tells that a set can't be had on this machine, now. It is no reason to fail a test, but one to skip it
// and to say why.
type MissingError struct {
	Set  Name
	What string // what was tried
	Err  error  // why it did not work
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("packages %q: %s: %v", e.Set, e.What, e.Err)
}

// Unwrap returns the reason.
func (e *MissingError) Unwrap() error { return e.Err }

// CacheDir returns the cache's folder: what the environment variable PROBITY_BOOT_CACHE says, otherwise probity/boot in
// the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("PROBITY_BOOT_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for boot packages (set PROBITY_BOOT_CACHE): %w", err)
	}
	return filepath.Join(dir, "probity", "boot"), nil
}

// Fetch returns a set from the cache in cacheDir, which it downloads and unpacks if it is not there; an empty cacheDir
// is CacheDir. The error is a *MissingError, unless ctx ended or there is no set of that name.
func Fetch(ctx context.Context, cacheDir string, name Name) (*Set, error) {
	r, ok := recipes[name]
	if !ok {
		return nil, fmt.Errorf("no package set %q", name)
	}
	if cacheDir == "" {
		var err error
		if cacheDir, err = CacheDir(); err != nil {
			return nil, &MissingError{Set: name, What: "find the cache", Err: err}
		}
	}
	f := fetcher{name: name, recipe: r, cache: cacheDir, dir: filepath.Join(cacheDir, string(name))}
	if s, err := f.load(); s != nil || err != nil {
		return s, err
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return nil, f.missing("make the cache", err)
	}
	unlock, err := lock(ctx, filepath.Join(cacheDir, r.architecture+".lock"))
	if err == nil {
		defer unlock()
		if s, err := f.load(); s != nil || err != nil { // another process did it
			return s, err
		}
		err = f.fetch(ctx)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("packages %q: %w", name, context.Cause(ctx))
	}
	if err != nil {
		return nil, f.missing("lock the cache", err)
	}
	s, err := f.load()
	if s == nil && err == nil {
		err = fmt.Errorf("packages %q: not complete after they were fetched", name)
	}
	return s, err
}

// record is the file set.json, which a complete set has.
type record struct {
	Requested []string  `json:"requested"` // by the recipe: another list is another set
	Release   string    `json:"release,omitempty"`
	Packages  []Package `json:"packages"`
}

const recordFile = "set.json"

// load returns the set if it is complete, nil if it is not there or was fetched by another recipe.
func (f *fetcher) load() (*Set, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, f.missing("read the cache", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, f.missing("read the cache", fmt.Errorf("%s: %w (remove the folder)", f.dir, err))
	}
	if !sameWords(r.Requested, f.recipe.requested()) {
		return nil, nil
	}
	s := &Set{Name: f.name, Root: filepath.Join(f.dir, "root"), Release: r.Release, Packages: r.Packages}
	if err := f.recipe.locate(s); err != nil {
		return nil, f.missing("read the cache", fmt.Errorf("%w (remove %s to fetch again)", err, f.dir))
	}
	return s, nil
}
