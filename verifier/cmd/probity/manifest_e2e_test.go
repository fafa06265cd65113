package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// capturedPackages are the versions that the captured boots ran.
var capturedPackages = map[string]string{"ovmf": "2022.11-6+deb12u2", "systemd-boot-efi": "252.39-1~deb12u2"}

// packageTree is the folder of unpacked packages that captured boots ran; the test is skipped without it.
func packageTree(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("PROBITY_BOOT_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Skipf("SKIPPED: no cache of packages: %v", err)
		}
		cache = filepath.Join(dir, "probity", "boot")
	}
	b, err := os.ReadFile(filepath.Join(cache, "x86", "set.json"))
	if err != nil {
		t.Skipf("SKIPPED: no packages of the captured boots (PROBITY_BOOT_CACHE says where): %v", err)
	}
	var set struct {
		Packages []struct{ Name, Version string }
	}
	if err := json.Unmarshal(b, &set); err != nil {
		t.Fatal(err)
	}
	for _, p := range set.Packages {
		if want := capturedPackages[p.Name]; want != "" && want != p.Version {
			t.Skipf("SKIPPED: package %s has version %s, the boot was captured with %s", p.Name, p.Version, want)
		}
	}
	return filepath.Join(cache, "x86", "root")
}

// A manifest that was made of images alone judges a boot that was captured: only what differs is found.
func TestManifestOfImagesJudgesBoot(t *testing.T) {
	root, dir := packageTree(t), t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("initrd"), []byte("not the one that was booted"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmdline, err := os.ReadFile(testdata + "/eventlogs/systemd-boot.cmdline")
	if err != nil {
		t.Fatal(err)
	}
	probity := func(args ...string) {
		t.Helper()
		if _, messages, err := invoke(t, nil, args...); err != nil {
			t.Fatalf("probity %s: %v, %s", strings.Join(args, " "), err, messages)
		}
	}
	create := func(version, firmware, out string) {
		t.Helper()
		probity("manifest", "create", "--vendor", "Lab", "--model", "VM", "--version", version, "--svn", "1", "-O", path(out),
			"--firmware", root+"/usr/share/OVMF/"+firmware, "--vars", root+"/usr/share/OVMF/OVMF_VARS_4M.fd",
			"--loader", "systemd-boot", "--boot-loader", root+"/usr/lib/systemd/boot/efi/systemd-bootx64.efi",
			"--kernel", `\lab\linux=`+root+"/boot/vmlinuz-6.1.0-56-cloud-amd64", "--initrd", `\lab\initrd=`+path("initrd"),
			"--cmdline", strings.TrimPrefix(strings.TrimSpace(string(cmdline)), `initrd=\lab\initrd `))
	}
	create("1", "OVMF_CODE_4M.fd", "vm.corim")
	probity("key", "generate", "-O", path("lab.pem"))
	probity("key", "public", path("lab.pem"), "-O", path("lab.pub"))
	probity("manifest", "sign", "--key", path("lab.pem"), path("vm.corim"))
	probity("manifest", "verify", "--trust", path("lab.pub"), path("vm.signed.corim"))

	want := []string{"PCR 9 (files read by the boot loader), initial RAM disk"}
	if got := unexpected(t, path("vm.corim")); !cmp.Equal(want, got) {
		t.Errorf("findings with the right firmware: %v, want %v", got, want)
	}
	// Another build of the firmware: its modules' volume is found, nothing else beside the initial RAM disk.
	create("2", "OVMF_CODE_4M.secboot.fd", "other.corim")
	want = append([]string{"PCR 0 (firmware), volume DXEFV 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1"}, want...)
	if got := unexpected(t, path("other.corim")); !cmp.Equal(want, got) {
		t.Errorf("findings with another build: %v, want %v", got, want)
	}
	out, _, err := invoke(t, nil, "manifest", "diff", path("vm.corim"), path("other.corim"))
	if err != nil || !strings.Contains(out, "EV_EFI_PLATFORM_FIRMWARE_BLOB 0x900000") {
		t.Errorf("manifest diff: %v\n%s", err, out)
	}
}

// unexpected returns the components of the critical findings of the captured boot, judged by a manifest.
func unexpected(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	set, err := reference.Build(reference.Documents{Releases: []reference.Release{{Manifest: m}}})
	if err != nil {
		t.Fatal(err)
	}
	var banks []*pcr.Bank
	for i, text := range quoted(t, testdata+"/eventlogs/systemd-boot.pcrs")["sha256"] {
		if i == "10" { // IMA's is judged elsewhere
			continue
		}
		if err := setPCR(&banks, pcr.SHA256, []string{i, text}); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.ReadFile(testdata + "/eventlogs/systemd-boot.bin")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range appraise.Boot(banks[0], log, set.For("Lab", "VM").At(time.Now()), appraise.DefaultPolicy().Seal()) {
		if f.Severity == result.Critical {
			out = append(out, f.Component)
		}
	}
	return out
}
