package corim

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
)

func TestDiagnose(t *testing.T) {
	w := &writer{b: annotated(t, "d2 84")}
	w.embed(func(in *writer) { in.b = annotated(t, "a1 01 26") })
	w.b = append(w.b, annotated(t, "a0 43 d901f5 42 beef")...)
	const want = `18([
  <<{
    1: -7
  }>>,
  {},
  h'd901f5',
  h'beef'
])
`
	var out bytes.Buffer
	if err := Diagnose(&out, w.b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// One line each, among them the examples of RFC 8949, appendix A.
func TestDiagnoseItems(t *testing.T) {
	for listing, want := range map[string]string{
		"00": "0", "1bffffffffffffffff": "18446744073709551615", "3bffffffffffffffff": "-18446744073709551616", "3903e7": "-1000",
		"f90000": "0.0_1", "f98000": "-0.0_1", "f93e00": "1.5_1", "f97bff": "65504.0_1", "f90001": "5.960464477539063e-08_1",
		"f97c00": "Infinity_1", "f9fc00": "-Infinity_1", "f97e00": "NaN_1", "fa47c35000": "100000.0_2", "fb3ff199999999999a": "1.1_3",
		"f4": "false", "f5": "true", "f6": "null", "f7": "undefined", "f0": "simple(16)", "f8ff": "simple(255)",
		"40": "h''", "4401020304": "h'01020304'", "60": `""`, "62225c": `"\"\\"`, "62c3bc": `"ü"`, "611b": `"\u001b"`,
		"63e280ae": `"\u202e"`, "64f3a08081": `"\udb40\udc01"`, "80": "[]", "8201 20": "[1, -1]", "a0": "{}",
		"8101": "[1]", "8301 02 03": "[\n  1,\n  2,\n  3\n]", "8281 00 01": "[\n  [0],\n  1\n]", "a1 01 02": "{\n  1: 2\n}",
		"c1 1a514b67b0": "1(1363896240)", "d901fa 41a0": "506(<<{}>>)", "d901fa 41ff": "506(h'ff')", "d901fa 00": "506(0)", "d2 00": "18(0)",
	} {
		got, err := diagnose(annotated(t, listing))
		if err != nil || got != want {
			t.Errorf("Diagnose(%s) = %s, %v, want %s", listing, got, err, want)
		}
	}
}

// Apart from spaces and what it shows of byte strings, the notation is another printer's.
func TestDiagnoseVectors(t *testing.T) {
	squeeze := strings.NewReplacer(" ", "", "\n", "")
	for name, b := range vectors(t) {
		want, err := cbor.Diagnose(b)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "comid") { // no byte string in it holds CBOR
			got, err := diagnose(b)
			if err != nil || squeeze.Replace(got) != squeeze.Replace(want) {
				t.Errorf("Diagnose(%s) = %s, %v, want %s", name, got, err, want)
			}
			continue
		}
		var out bytes.Buffer
		if err := Diagnose(&out, b); err != nil || !strings.Contains(out.String(), "506(<<{") {
			t.Errorf("Diagnose(%s) = %s, %v, want the CoMID spelled out", name, out.String(), err)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestDiagnoseFails(t *testing.T) {
	if err := Diagnose(broken{}, []byte{0}); err == nil {
		t.Error("an error of the writer is lost")
	}
	var e *MalformedError
	if err := Diagnose(broken{}, []byte{0x81}); !errors.As(err, &e) {
		t.Errorf("Diagnose of a cut array: %v", err)
	}
}
