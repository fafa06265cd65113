package eventlog

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/pcr"
)

const (
	testdata = "../../testdata/eventlogs"
	corpus   = "../../../shared/corpus/eventlogs"
	lab      = "../../../shared/lab/artefacts"
)

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// captured returns the logs of testdata by name.
func captured(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testdata, "*.bin"))
	if err != nil || len(paths) < 10 {
		t.Fatalf("found %d logs in %s, want at least 10 (%v)", len(paths), testdata, err)
	}
	out := map[string][]byte{}
	for _, p := range paths {
		out[strings.TrimSuffix(filepath.Base(p), ".bin")] = readFile(t, p)
	}
	return out
}

// readPCRs reads "BANK INDEX HEX" lines.
func readPCRs(t testing.TB, path string) map[pcr.Algorithm]*pcr.Bank {
	t.Helper()
	banks := map[pcr.Algorithm]*pcr.Bank{}
	for line := range strings.Lines(string(readFile(t, path))) {
		f := strings.Fields(line)
		if len(f) != 3 {
			t.Fatalf("%s: line %q", path, line)
		}
		a, err := pcr.ParseAlgorithm(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if banks[a] == nil {
			banks[a] = pcr.NewBank(a)
		}
		setPCR(t, banks[a], f[1], f[2])
	}
	return banks
}

func setPCR(t testing.TB, b *pcr.Bank, index, value string) {
	t.Helper()
	i, err := strconv.Atoi(index)
	if err != nil {
		t.Fatal(err)
	}
	v, err := hex.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Set(i, v); err != nil {
		t.Fatal(err)
	}
}

// genuine returns a captured log and the SHA-256 PCRs that its TPM had.
func genuine(t testing.TB, name string) ([]byte, *pcr.Bank) {
	t.Helper()
	return readFile(t, filepath.Join(testdata, name+".bin")), readPCRs(t, filepath.Join(testdata, name+".pcrs"))[pcr.SHA256]
}

func mustParse(t testing.TB, b []byte) *Log {
	t.Helper()
	l, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustReplay(t testing.TB, l *Log, a pcr.Algorithm) *pcr.Bank {
	t.Helper()
	b, err := l.Replay(a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// shielded returns the 38 KiB log of three banks that go-attestation ships for its own tests.
func shielded(t testing.TB) []byte {
	t.Helper()
	return readFile(t, filepath.Join(goAttestation(t), "ubuntu_2104_shielded_vm_no_secure_boot_eventlog"))
}

// goAttestation returns the folder of logs in go-attestation's module.
func goAttestation(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-attestation").Output()
	if err != nil || len(strings.TrimSpace(string(out))) == 0 {
		t.Skipf("SKIPPED: the module go-attestation is not in the module cache: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "attest", "testdata")
}
