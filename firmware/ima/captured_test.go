package ima

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

const (
	testdata  = "../../testdata/ima"
	artefacts = "../../../shared/lab/artefacts"
	corpus    = "../../../shared/corpus/ima"
)

// captured returns the names of the lists in testdata; none is a failure.
func captured(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(testdata, "*.bin"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no captured lists in %s (%v)", testdata, err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".bin")
	}
	return files
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// readPCRs reads lines "BANK INDEX HEX".
func readPCRs(tb testing.TB, path string) map[pcr.Algorithm]*pcr.Bank {
	tb.Helper()
	banks := map[pcr.Algorithm]*pcr.Bank{}
	for line := range strings.Lines(string(read(tb, path))) {
		f := strings.Fields(line)
		alg, err := pcr.ParseAlgorithm(f[0])
		if err != nil {
			tb.Fatal(err)
		}
		i, err1 := strconv.Atoi(f[1])
		v, err2 := hex.DecodeString(f[2])
		if banks[alg] == nil {
			banks[alg] = pcr.NewBank(alg)
		}
		if err := errors.Join(err1, err2, banks[alg].Set(i, v)); err != nil {
			tb.Fatal(err)
		}
	}
	if len(banks) == 0 {
		tb.Fatalf("%s: no PCR values", path)
	}
	return banks
}

// checkCapture checks that both formats of a list agree and replay to all banks of the machine that made it.
func checkCapture(t *testing.T, binary, ascii []byte, banks map[pcr.Algorithm]*pcr.Bank) {
	t.Helper()
	list, err := ReadList(binary)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ReadList(ascii)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text.Binary(), binary) {
		t.Error("the ASCII list does not give the binary list")
	}
	if want := bytes.Count(ascii, []byte{'\n'}); list.Len() != want {
		t.Errorf("Len() = %d, want %d", list.Len(), want)
	}
	for alg, bank := range banks {
		var visited int
		next, matched, err := State{}.Advance(binary, alg, bank.Value(PCR), func(Entry) { visited++ })
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		wantMode := map[pcr.Algorithm]Mode{pcr.SHA1: 0, pcr.SHA256: Recomputed}
		mode, ok := wantMode[alg]
		if !ok { // Debian's kernels have no SHA-384 and SHA-512 when IMA starts
			mode = Padded | PaddedShort
		}
		want := State{Entries: uint64(list.Len()), Value: bank.Value(PCR), Mode: mode}
		if diff := cmp.Diff(want, next); diff != "" || matched != list.Len() || visited != matched {
			t.Errorf("%s: Advance = %d matched, %d visited (-want +got):\n%s", alg, matched, visited, diff)
		}
	}
	first := NewScanner(binary)
	first.Scan()
	if fits, err := CheckBootAggregate(first.Entry(), banks[pcr.SHA256]); err != nil || !fits {
		t.Errorf("CheckBootAggregate = %v, %v, want true", fits, err)
	}
	if alg := banks[pcr.SHA1]; alg != nil {
		if _, err := CheckBootAggregate(first.Entry(), alg); !errors.Is(err, ErrUndecided) {
			t.Errorf("CheckBootAggregate against another bank: %v, want ErrUndecided", err)
		}
	}
}

func TestCaptured(t *testing.T) {
	for _, name := range captured(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			checkCapture(t, read(t, name+".bin"), read(t, name+".ascii"), readPCRs(t, name+".pcrs"))
		})
	}
}

func TestArtefacts(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(artefacts, "*", "ima_binary.bin"))
	if len(files) == 0 {
		t.Skipf("skipped: no captured boots in %s", artefacts)
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			list, banks := read(t, file), readPCRs(t, filepath.Join(dir, "pcrs.txt"))
			if !strings.HasPrefix(filepath.Base(dir), "arm64-") {
				checkCapture(t, list, read(t, filepath.Join(dir, "ima_ascii.txt")), banks)
				return
			}
			// There IMA runs before the TPM's driver: nothing of its full list is proved.
			next, matched, err := State{}.Advance(list, pcr.SHA256, banks[pcr.SHA256].Value(PCR), func(Entry) {
				t.Error("an unproved entry was visited")
			})
			if n, _ := Count(list); err != nil || matched != 0 || n < 2 || next.Entries != 0 {
				t.Errorf("Advance = %+v, %d of %d, %v; want none matched", next, matched, n, err)
			}
			s := NewScanner(list)
			s.Scan()
			if fits, err := CheckBootAggregate(s.Entry(), banks[pcr.SHA256]); err != nil || fits {
				t.Errorf("CheckBootAggregate = %v, %v, want false", fits, err)
			}
		})
	}
}

// The ASCII list was read four entries before the binary one: its value is that of a prefix.
func TestBothFormatsOfALongList(t *testing.T) {
	binary, err := os.ReadFile(filepath.Join(corpus, "charra.binary"))
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	ascii := read(t, filepath.Join(corpus, "charra.ascii"))
	text, err := ReadList(ascii)
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Count(ascii, []byte{'\n'}); text.Len() != want {
		t.Errorf("ASCII: %d entries, want %d", text.Len(), want)
	}
	end, err := Skip(binary, text.Len())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text.Binary(), binary[:end]) {
		t.Fatal("the ASCII list does not give the binary list's first entries")
	}
	early, err := ReadList(binary[:end])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(early.View().PCRs, text.View().PCRs); diff != "" {
		t.Errorf("replayed values differ (-binary +ascii):\n%s", diff)
	}
	for _, alg := range []pcr.Algorithm{pcr.SHA1, pcr.SHA256} {
		quoted, err := hex.DecodeString(text.View().PCRs["10"][alg.String()])
		if err != nil {
			t.Fatal(err)
		}
		if _, matched, err := (State{}).Advance(binary, alg, quoted, nil); err != nil || matched != text.Len() {
			t.Errorf("%s: Advance of the longer list = %d, %v, want %d", alg, matched, err, text.Len())
		}
	}
	for _, e := range text.View().List {
		if !e.Consistent && !e.Violation || e.Path == "" {
			t.Errorf("entry %d: %+v", e.Number, e)
		}
	}
}
