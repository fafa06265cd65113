package eventlog

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Logs of real machines of many makers replay to what an independent program replayed.
func TestCorpus(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(corpus, "index.tsv"))
	if err != nil {
		t.Skipf("SKIPPED: no corpus of real logs beside the repository: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(index)), "\n")[1:]
	if len(lines) < 10 {
		t.Fatalf("index lists %d logs, want at least 10", len(lines))
	}
	for _, line := range lines {
		f := strings.Split(line, "\t")
		t.Run(f[0], func(t *testing.T) { checkCorpusLog(t, f) })
	}
}

// checkCorpusLog checks one line of the index: file, origin, licence, events, bank, PCRs.
func checkCorpusLog(t *testing.T, f []string) {
	l := mustParse(t, readFile(t, filepath.Join(corpus, f[0])))
	if want, err := strconv.Atoi(f[3]); err != nil || len(l.Events) != want {
		t.Errorf("%d events, want %s (%v)", len(l.Events), f[3], err)
	}
	a, err := pcr.ParseAlgorithm(f[4])
	if err != nil {
		t.Fatal(err)
	}
	want := pcr.NewBank(a)
	for _, p := range strings.Fields(f[5]) {
		i, v, _ := strings.Cut(p, "=")
		setPCR(t, want, i, v)
	}
	got := mustReplay(t, l, a)
	if f[0] == "hcrtm-sm3-bank.bin" {
		checkHCRTM(t, l, got)
	}
	if diff := cmp.Diff(want.Strings(), got.Strings()); diff != "" {
		t.Errorf("Replay(%s) (-want +got):\n%s", a, diff)
	}
	view := l.View()
	if view.Events != len(l.Events) || len(view.Entries) != len(l.Events) {
		t.Errorf("View has %d events and %d entries, want %d", view.Events, len(view.Entries), len(l.Events))
	}
	if diff := cmp.Diff(want.Strings(), view.PCRs[a.String()]); diff != "" {
		t.Errorf("View().PCRs (-want +got):\n%s", diff)
	}
	checkPrintable(t, l)
	if a == pcr.SHA1 {
		_, err := l.Verify(got)
		wantRule(t, err, RuleBank)
		return
	}
	if _, err := l.Verify(got); err != nil {
		t.Errorf("Verify against its own replay: %v", err)
	}
}

// checkHCRTM: the index replays the log with a H-CRTM event from zero, as a log without StartupLocality says. The machine's
// own SHA-1 PCR 0, which came with the log (tpm2-tss, test/unit/fapi-eventlog.c), started with 4: that is verified too.
func checkHCRTM(t *testing.T, l *Log, replayed *pcr.Bank) {
	t.Helper()
	const machine = "15f4e6ca457d1af6bc49511a93ba3500ad69acc5"
	if got := hex.EncodeToString(l.ReplayHCRTM(pcr.SHA1)); got != machine {
		t.Errorf("SHA-1 PCR 0 = %s, the machine had %s", got, machine)
	}
	quoted := replayed.Clone()
	if err := quoted.Set(0, l.ReplayHCRTM(pcr.SHA256)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Verify(quoted); err != nil {
		t.Errorf("Verify against the PCR 0 of a machine with a H-CRTM: %v", err)
	}
	if got := l.View().HCRTM["sha256"]; got != hex.EncodeToString(quoted.Value(0)) {
		t.Errorf("View().HCRTM = %s, want %x", got, quoted.Value(0))
	}
}

// Every boot of the laboratory replays to the PCRs that its TPM held afterwards.
func TestLab(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(lab, "*", "bios_measurements.bin"))
	if err != nil || len(paths) == 0 {
		t.Skipf("SKIPPED: no captured boots beside the repository: %v", err)
	}
	for _, p := range paths {
		t.Run(filepath.Base(filepath.Dir(p)), func(t *testing.T) {
			checkBoot(t, readFile(t, p), readPCRs(t, filepath.Join(filepath.Dir(p), "pcrs.txt")))
		})
	}
}

func TestCaptured(t *testing.T) {
	for name, b := range captured(t) {
		t.Run(name, func(t *testing.T) { checkBoot(t, b, readPCRs(t, filepath.Join(testdata, name+".pcrs"))) })
	}
}

// checkBoot checks every bank of a log against the PCRs of its TPM.
func checkBoot(t *testing.T, b []byte, banks map[pcr.Algorithm]*pcr.Bank) {
	t.Helper()
	l := mustParse(t, b)
	for _, a := range l.Banks {
		if banks[a] == nil {
			t.Fatalf("the TPM has no bank %s", a)
		}
		replayed := mustReplay(t, l, a)
		for _, i := range replayed.Present().Indices() {
			if diff := cmp.Diff(banks[a].Value(i), replayed.Value(i)); diff != "" {
				t.Errorf("%s PCR %d (-TPM +replay):\n%s", a, i, diff)
			}
		}
		if !a.Trusted() {
			continue
		}
		v, err := l.Verify(banks[a])
		if err != nil {
			t.Fatalf("Verify(%s) = %v", a, err)
		}
		if got := v.Unlogged() &^ pcr.Select(10); got != 0 {
			t.Errorf("Unlogged() = %s, want at most PCR 10 of IMA", got)
		}
	}
	checkPrintable(t, l)
}
