//go:build linux

package boot

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where a guest's kernel shows its logs.
const (
	bootLogFile = "/sys/kernel/security/tpm0/binary_bios_measurements"
	imaFile     = "/sys/kernel/security/ima/binary_runtime_measurements"
	imaText     = "/sys/kernel/security/ima/ascii_runtime_measurements"
)

// captured writes the logs of a healthy boot in the form of testdata, if the flag -capture asks for them.
func captured(t *testing.T, c *computer, name string) {
	t.Helper()
	if *capture == "" {
		return
	}
	ctx := c.ctx()
	parts := map[string][]byte{
		filepath.Join("eventlogs", name+".bin"):     guestFile(t, c, ctx, bootLogFile),
		filepath.Join("eventlogs", name+".cmdline"): guestFile(t, c, ctx, "/proc/cmdline"),
		filepath.Join("ima", name+".bin"):           guestFile(t, c, ctx, imaFile),
		filepath.Join("ima", name+".ascii"):         guestFile(t, c, ctx, imaText),
	}
	// Files of sysfs are read after the logs: PCR 10 may have moved on, as it does on any machine.
	pcrs := bankFiles(t, c, ctx)
	for _, kind := range []string{"eventlogs", "ima"} {
		parts[filepath.Join(kind, name+".pcrs")] = []byte(pcrs)
	}
	for file, b := range parts {
		// A list that nothing vouches for, since IMA ran before the TPM's driver, is no sample of one.
		if b == nil || filepath.Dir(file) == "ima" && strings.Contains(pcrs, " 10 "+strings.Repeat("00", 32)) {
			continue
		}
		path := filepath.Join(*capture, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// guestFile reads a file of the guest, nil if there is none.
func guestFile(t *testing.T, c *computer, ctx context.Context, name string) []byte {
	t.Helper()
	b, err := c.m.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bankFiles reads the PCRs as the kernel shows them: "BANK INDEX HEX" a line.
func bankFiles(t *testing.T, c *computer, ctx context.Context) string {
	t.Helper()
	var b strings.Builder
	for _, bank := range []string{"sha1", "sha256", "sha384", "sha512"} {
		for i := range 24 {
			v := guestFile(t, c, ctx, fmt.Sprintf("/sys/class/tpm/tpm0/pcr-%s/%d", bank, i))
			if v == nil {
				break
			}
			value := strings.ToLower(strings.TrimSpace(string(v)))
			if _, err := hex.DecodeString(value); err != nil {
				t.Fatalf("PCR %d of %s: %v", i, bank, err)
			}
			fmt.Fprintf(&b, "%s %d %s\n", bank, i, value)
		}
	}
	return b.String()
}
