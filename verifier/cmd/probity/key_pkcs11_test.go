//go:build pkcs11

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/manifest"
)

// softHSM makes a token in a folder of its own and returns the module's path. Tests without it are skipped.
func softHSM(t *testing.T) string {
	t.Helper()
	module := ""
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"} {
		if exists(path) {
			module = path
		}
	}
	program, err := exec.LookPath("softhsm2-util")
	if err != nil || module == "" {
		t.Skip("SKIPPED: SoftHSM is not installed (package softhsm2)")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(config, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	hsm(t, program, "--init-token", "--free", "--label", "release", "--pin", "1234", "--so-pin", "5678")
	return module
}

func hsm(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// A key in a token signs as a key in a file does.
func TestTokenSigns(t *testing.T) {
	module := softHSM(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("pin"), []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unsigned, err := manifest.Encode(&manifest.Manifest{ID: "acme/r7/1", Vendor: "Acme", Model: "R7", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("r7.corim"), unsigned, 0o600); err != nil {
		t.Fatal(err)
	}
	probity := func(args ...string) {
		t.Helper()
		if _, messages, err := invoke(t, nil, args...); err != nil {
			t.Fatalf("probity %s: %v, %s", strings.Join(args, " "), err, messages)
		}
	}
	for i, kind := range []string{"p256", "p384", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			key := path(kind + ".pem")
			probity("key", "generate", "--type", kind, "-O", key)
			hsm(t, "softhsm2-util", "--import", key, "--token", "release", "--label", kind, "--id", fmt.Sprintf("%02x", i+1), "--pin", "1234")
			uri := fmt.Sprintf("pkcs11:token=release;object=%s;id=%%%02x?module-path=%s&pin-source=%s", kind, i+1, module, path("pin"))
			probity("key", "public", uri, "-O", path(kind+".pub"))
			probity("manifest", "sign", "--key", uri, path("r7.corim"), "-O", path(kind+".corim"))
			probity("manifest", "verify", "--trust", path(kind+".pub"), path(kind+".corim"))
			probity("key", "public", key, "-O", path(kind+".file"))
			a, b := readString(t, path(kind+".pub")), readString(t, path(kind+".file"))
			if a != b {
				t.Errorf("the token's public key is\n%s, want\n%s", a, b)
			}
		})
	}
	for uri, want := range map[string]string{
		"pkcs11:token=release;object=p256?module-path=" + module + "&pin-value=9999": "log in",
		"pkcs11:token=other;object=p256?module-path=" + module:                       `no token "other"`,
		"pkcs11:token=release;object=none?module-path=" + module + "&pin-value=1234": "0 keys fit",
		"pkcs11:object=x?module-path=/no/such.so":                                    "no PKCS#11 module",
		"pkcs11:object=x":                         "no module-path",
		"pkcs11:token=x?module-path=x":            "neither object nor id",
		"pkcs11:slot-id=1":                        `"slot-id" is not known`,
		"pkcs11:type=cert;object=x?module-path=x": "want private",
	} {
		_, messages, err := invoke(t, nil, "manifest", "sign", "--key", uri, path("r7.corim"))
		if err == nil || !strings.Contains(messages, want) {
			t.Errorf("sign with %s: %v, %q, want an error with %q", uri, err, messages, want)
		}
	}
}

func readString(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
