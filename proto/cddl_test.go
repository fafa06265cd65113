package proto

import (
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCDDL compares the keys of every map in probity.cddl, and whether they may be absent, with the Go types.
func TestCDDL(t *testing.T) {
	b, err := os.ReadFile("probity.cddl")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]reflect.Type{}
	for _, v := range []any{
		State{},
		Challenge{},
		Evidence{},
		Claims{},
		Item{},
		Content{},
		Unavailable{},
		IMASegment{},
		IMAStatus{},
		Platform{},
		FirmwareVersion{},
		BusDevice{},
		FlashStatus{},
		TamperLine{},
		Flash{},
		FlashRegion{},
		FlashRange{},
		CaptureRequest{},
		CaptureUp{},
		CaptureStart{},
		CapturePiece{},
		CaptureEnd{},
		CaptureStatement{},
		Want{},
		Chunk{},
		Receipt{},
		EnrollUp{},
		Hello{},
		CertifiedKey{},
		EnrollProof{},
		EnrollDown{},
		EnrollChallenge{},
		EnrollCertificate{},
		EnrollPending{},
		EnrollDenied{},
	} {
		types[strings.ToLower(reflect.TypeOf(v).Name())] = reflect.TypeOf(v)
	}
	rule := regexp.MustCompile(`(?ms)^([a-z-]+) = \{\n(.*?)^\}`)
	key := regexp.MustCompile(`(?m)^  (\? )?(\d+): `)
	for _, m := range rule.FindAllStringSubmatch(string(b), -1) {
		name := strings.ReplaceAll(m[1], "-", "")
		typ, ok := types[name]
		if !ok {
			t.Errorf("rule %s describes no Go type", m[1])
			continue
		}
		delete(types, name)
		got, want := map[int]bool{}, map[int]bool{} // key: optional
		for _, k := range key.FindAllStringSubmatch(m[2], -1) {
			n, err := strconv.Atoi(k[2])
			if err != nil {
				t.Fatal(err)
			}
			got[n] = k[1] != ""
		}
		for i := range typ.NumField() {
			parts := strings.Split(typ.Field(i).Tag.Get("cbor"), ",")
			n, err := strconv.Atoi(parts[0])
			if err != nil {
				t.Fatalf("%s.%s: %v", typ, typ.Field(i).Name, err)
			}
			want[n] = len(parts) == 3 && parts[2] == "omitempty"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rule %s (-code +CDDL):\n%s", m[1], diff)
		}
	}
	for name := range types {
		t.Errorf("no rule for %s", name)
	}
}

// TestSpecificationNamesEverything keeps README.md from falling behind: topics, codes, causes and limits.
func TestSpecificationNamesEverything(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, l := range leaves {
		want = append(want, string(l))
	}
	for _, c := range []string{
		CodeNonceExpired, CodeNonceForeign, CodeNonceReplayed, CodeMalformed, CodeSignature, CodeNotEnrolled,
		CodeSelection, CodePCRValues, CodeOutOfSync,
	} {
		want = append(want, "`"+c+"`")
	}
	for _, c := range []Cause{
		CauseNotFound, CausePermission, CauseTooLarge, CauseMalformed, CauseIO, CauseNotAllowed, CauseNoSupport,
	} {
		want = append(want, "`"+string(c)+"`")
	}
	for _, tag := range []string{evidenceTag, softwareTag, tlsKeyTag, enrollTag, captureTag} {
		want = append(want, strings.TrimSuffix(tag, "\x00"))
	}
	for _, n := range []int{MaxMessage, ChunkSize, MaxBootLog, MaxIMASegment, MaxPlatform, MaxClaims, MaxCertificate, MaxCapture} {
		want = append(want, strconv.Itoa(n))
	}
	for _, w := range want {
		if !strings.Contains(string(b), w) {
			t.Errorf("README.md does not mention %s", w)
		}
	}
}
