package eventlog

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

// verifyOwn verifies a built log against its own replay, so that only rules can fail.
func verifyOwn(t testing.TB, records ...record) (*Verified, error) {
	t.Helper()
	l := mustParse(t, buildLog(records...))
	return l.Verify(mustReplay(t, l, pcr.SHA256))
}

func TestVerifyRules(t *testing.T) {
	seps := separators()
	sep := func(index uint32, data []byte, measured []byte) record {
		return record{pcr: index, typ: Separator, data: data, measured: measured}
	}
	replace := func(i int, r record) []record {
		out := slices.Clone(seps)
		out[i] = r
		return out
	}
	zeros, ones, one := []byte{0, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0xff}, []byte{1, 0, 0, 0}
	version := record{pcr: 0, typ: SCRTMVersion, data: []byte("v1")}
	hcrtm := record{pcr: 0, typ: EFIHCRTMEvent, data: []byte("HCRTM")}
	tests := []struct {
		name    string
		records []record
		want    Rule // empty: verified
	}{
		{"separators alone", seps, ""},
		{"header only", nil, RuleNoEvents},
		{"nothing that extends", []record{locality(3)}, RuleNoEvents},
		{"separator of ones", replace(3, sep(3, ones, nil)), ""},
		{"separator missing", seps[:7], RuleSeparatorMissing},
		{"separator repeated", append(slices.Clone(seps), seps[2]), RuleSeparatorRepeated},
		{"separator repeated with ones", append(slices.Clone(seps), sep(2, ones, nil)), RuleSeparatorRepeated},
		{"error separator", replace(4, sep(4, one, nil)), RuleSeparatorError},
		{"error shown as success", replace(4, sep(4, zeros, one)), RuleSeparatorError},
		{"error claimed", replace(4, sep(4, one, zeros)), RuleSeparatorError},
		{"separator of other data", replace(5, sep(5, []byte("WBCL"), nil)), RuleSeparatorValue},
		{"separator of another digest", replace(5, sep(5, zeros, []byte("x"))), RuleSeparatorValue},
		{"ones shown as zeros", replace(5, sep(5, zeros, ones)), RuleSeparatorValue},
		{"empty separator", replace(5, sep(5, nil, zeros)), RuleSeparatorValue},
		{"separator of PCR 12 is free", append(slices.Clone(seps), sep(12, []byte("WBCL"), nil), sep(12, zeros, nil)), ""},
		{"disguised separator", append([]record{{pcr: 7, typ: EFIAction, data: zeros}}, seps...), RuleSeparatorDisguised},
		{"disguised ones", append([]record{{pcr: 4, typ: EFIAction, data: []byte("x"), measured: ones}}, seps...), RuleSeparatorDisguised},
		{"disguised error", append([]record{{pcr: 2, typ: EFIAction, data: []byte("x"), measured: one}}, seps...), RuleSeparatorDisguised},
		{"zeros in PCR 0", append([]record{{pcr: 0, typ: SCRTMContents, data: []byte("FIT"), measured: zeros}}, seps...), ""},
		{"locality 3", append([]record{locality(3), version}, seps...), ""},
		{"locality 0", append([]record{locality(0), version}, seps...), ""},
		{"locality 4 and H-CRTM", append([]record{locality(4), hcrtm, version}, seps...), ""},
		{"locality 1", append([]record{locality(1), version}, seps...), RuleStartupLocality},
		{"locality twice", append([]record{locality(3), locality(3), version}, seps...), RuleStartupLocality},
		{"locality late", append([]record{version, locality(3)}, seps...), RuleStartupLocality},
		{"locality after other PCRs", append(append([]record{}, seps[7], locality(3), version), seps[:7]...), ""},
		{"locality of PCR 1", append([]record{{pcr: 1, typ: NoAction, data: locality(3).data}, version}, seps...), RuleStartupLocality},
		{"locality of 18 bytes", append([]record{{typ: NoAction, data: append(locality(3).data, 0)}, version}, seps...), RuleStartupLocality},
		{"locality of 16 bytes", append([]record{{typ: NoAction, data: locality(3).data[:16]}, version}, seps...), RuleStartupLocality},
		{"H-CRTM", append([]record{hcrtm, version}, seps...), ""},
		{"H-CRTM late", append([]record{version, hcrtm}, seps...), RuleHCRTM},
		{"H-CRTM twice", append([]record{hcrtm, hcrtm}, seps...), RuleHCRTM},
		{"H-CRTM of PCR 1", append([]record{{pcr: 1, typ: EFIHCRTMEvent, data: []byte("HCRTM")}}, seps...), RuleHCRTM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := verifyOwn(t, tt.records...)
			if tt.want != "" {
				e := wantRule(t, err, tt.want)
				if v != nil || !strings.Contains(e.Error(), string(tt.want)) {
					t.Errorf("Verify = %v, %v", v, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// PCR 0 starts at the startup locality, or at 4 after a H-CRTM. Without a StartupLocality event Replay starts at 0.
func TestStartValue(t *testing.T) {
	version := record{pcr: 0, typ: SCRTMVersion, data: []byte("v1")}
	hcrtm := record{pcr: 0, typ: EFIHCRTMEvent, data: []byte("HCRTM")}
	tests := []struct {
		name    string
		records []record
		want    byte
	}{
		{"nothing", []record{version}, 0},
		{"locality 3", []record{locality(3), version}, 3},
		{"H-CRTM", []record{hcrtm, version}, 4},
		{"H-CRTM and locality 4", []record{locality(4), hcrtm}, 4},
		{"late locality", []record{version, locality(3)}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := mustParse(t, buildLog(tt.records...))
			if got := l.StartupLocality(); got != tt.want {
				t.Errorf("StartupLocality() = %d, want %d", got, tt.want)
			}
			want := pcr.NewBank(pcr.SHA256)
			start := make([]byte, 32)
			start[31] = tt.want
			if err := want.Set(0, start); err != nil {
				t.Fatal(err)
			}
			for _, r := range tt.records {
				if r.typ != NoAction {
					if err := want.Extend(0, r.digest(pcr.SHA256)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tt.name == "H-CRTM" {
				if got := l.ReplayHCRTM(pcr.SHA256); !bytes.Equal(got, want.Value(0)) {
					t.Errorf("ReplayHCRTM() = %x, want %x", got, want.Value(0))
				}
				return
			}
			if diff := cmp.Diff(want.Strings(), mustReplay(t, l, pcr.SHA256).Strings()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVerifyBanks(t *testing.T) {
	l := mustParse(t, buildLog(separators()...))
	for _, a := range []pcr.Algorithm{pcr.SHA1, pcr.SHA384, pcr.SHA512, pcr.SM3, 0} {
		_, err := l.Verify(pcr.NewBank(a))
		wantRule(t, err, RuleBank)
	}
	// An event that has no digest of the bank cannot be replayed, nor may it be left out.
	raw := append(buildLog(separators()...), buildRecord(record{pcr: 4, typ: EFIAction, data: []byte("x")}, pcr.SHA1)...)
	l = mustParse(t, raw)
	if _, err := l.Replay(pcr.SHA1); err != nil {
		t.Errorf("Replay(sha1) = %v", err)
	}
	_, err := l.Replay(pcr.SHA256)
	if e := wantRule(t, err, RuleBank); e.PCR != 4 || e.Event != 9 {
		t.Errorf("rule error of PCR %d, event %d, want 4, 9", e.PCR, e.Event)
	}
}

// TestVerifyWeak: SHA-1 explains and never passes for more; the rules and the replay hold for it as for others.
func TestVerifyWeak(t *testing.T) {
	l := mustParse(t, buildLog(append([]record{locality(3), secureBootRecord(1)}, separators()...)...))
	quoted := mustReplay(t, l, pcr.SHA1)
	v, err := l.VerifyWeak(quoted)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Weak() || len(v.Events()) != 9 || !v.Bank().Equal(quoted) {
		t.Errorf("VerifyWeak(sha1): weak %t, %d events, bank %s", v.Weak(), len(v.Events()), v.Bank().Algorithm())
	}
	if state, _ := v.SecureBoot(); state != SecureBootOn {
		t.Errorf("SecureBoot() = %v, want it explained as on", state)
	}
	_, err = l.Verify(quoted)
	wantRule(t, err, RuleBank)
	strong, err := l.Verify(mustReplay(t, l, pcr.SHA256))
	if err != nil || strong.Weak() {
		t.Errorf("Verify(sha256) = weak %t, %v", strong.Weak(), err)
	}
	for _, a := range []pcr.Algorithm{pcr.SHA256, pcr.SHA384, pcr.SHA512, pcr.SM3, 0} {
		got, err := l.VerifyWeak(pcr.NewBank(a))
		if wantRule(t, err, RuleBank); got != nil {
			t.Errorf("VerifyWeak(%s) = %v beside an error", a, got)
		}
	}
	if err := quoted.Set(4, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	_, err = l.VerifyWeak(quoted)
	wantMismatch(t, err, 4)
	short := mustParse(t, buildLog(separators()[:7]...))
	_, err = short.VerifyWeak(mustReplay(t, short, pcr.SHA1))
	wantRule(t, err, RuleSeparatorMissing)
}

func TestVerifyMismatch(t *testing.T) {
	raw, quoted := genuine(t, "uki")
	l := mustParse(t, raw)
	if _, err := l.Verify(quoted); err != nil {
		t.Fatal(err)
	}
	other := quoted.Clone()
	if err := other.Set(4, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	if err := other.Set(11, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	_, err := l.Verify(other)
	wantMismatch(t, err, 4, 11)
	if !strings.Contains(err.Error(), "PCR 4 replays to") {
		t.Errorf("error %q", err)
	}
	// A PCR with events that was not quoted is a mismatch too.
	few := pcr.NewBank(pcr.SHA256)
	for _, i := range []int{0, 1, 2, 3, 4, 5, 6, 7, 11} {
		if err := few.Set(i, quoted.Value(i)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = l.Verify(few)
	wantMismatch(t, err, 9)
	var e *MismatchError
	if errors.As(err, &e); e.Mismatches[0].Quoted != nil || !strings.Contains(err.Error(), "is not quoted") {
		t.Errorf("mismatch %+v: %v", e.Mismatches[0], err)
	}
	// A log of another boot.
	theirs, _ := genuine(t, "uki-firmware")
	_, err = mustParse(t, theirs).Verify(quoted)
	wantMismatch(t, err, 0)
	// An empty quote proves nothing.
	if v, err := l.Verify(pcr.NewBank(pcr.SHA256)); err == nil {
		t.Errorf("verified %v against no values", v)
	}
}

func TestVerified(t *testing.T) {
	records := append([]record{locality(3), secureBootRecord(1)}, separators()...)
	l := mustParse(t, buildLog(records...))
	quoted := mustReplay(t, l, pcr.SHA256)
	for i, v := range map[int]byte{10: 1, 12: 0, 17: 0xff, 18: 0, 23: 7} {
		if err := quoted.Set(i, bytes.Repeat([]byte{v}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	v, err := l.Verify(quoted)
	if err != nil {
		t.Fatal(err)
	}
	if want := pcr.Select(10, 18, 23); v.Unlogged() != want {
		t.Errorf("Unlogged() = %s, want %s", v.Unlogged(), want)
	}
	if v.Log() != l || !v.Bank().Equal(quoted) || v.Bank() == quoted {
		t.Error("Log or Bank is not what was verified")
	}
	events := v.Events()
	if len(events) != 9 || events[0].Type != EFIVariableDriverConfig {
		t.Errorf("%d events from %s, want 9 from SecureBoot", len(events), events[0].Type)
	}
	raw, own := genuine(t, "uki")
	v, err = mustParse(t, raw).Verify(own)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Events()) != len(v.Log().Events) || v.Unlogged() != pcr.Select(10) {
		t.Errorf("%d of %d events, unlogged %s", len(v.Events()), len(v.Log().Events), v.Unlogged())
	}
}

func TestDataMatches(t *testing.T) {
	boot := variableData(guidGlobalVariable, "Boot0001", []byte("entry"))
	tests := []struct {
		name string
		r    record
		want bool
	}{
		{"whole", record{pcr: 1, typ: EFIAction, data: []byte("a")}, true},
		{"other", record{pcr: 1, typ: EFIAction, data: []byte("a"), measured: []byte("b")}, false},
		{"no action", record{typ: NoAction, data: []byte("a")}, false},
		{"boot variable", record{pcr: 1, typ: EFIVariableBoot, data: boot}, true},
		{"boot variable's data", record{pcr: 1, typ: EFIVariableBoot, data: boot, measured: []byte("entry")}, true},
		{"boot variable's name", record{pcr: 1, typ: EFIVariableBoot, data: boot, measured: utf16le("Boot0001")}, false},
		{"boot variable with a tail", record{pcr: 1, typ: EFIVariableBoot, data: append(boot, 0), measured: []byte("entry")}, false},
		{"driver variable's data", record{pcr: 7, typ: EFIVariableDriverConfig, data: boot, measured: []byte("entry")}, false},
		{"GRUB", record{pcr: 8, typ: IPL, data: []byte("grub_cmd: ls\x00"), measured: []byte("ls")}, true},
		{"GRUB, other command", record{pcr: 8, typ: IPL, data: []byte("grub_cmd: ls\x00"), measured: []byte("rm")}, false},
		{"Red Hat's GRUB", record{pcr: 8, typ: IPL, data: []byte("grub_cmd ls\x00"), measured: []byte("ls\x00")}, true},
		{"kernel command line", record{pcr: 8, typ: IPL, data: []byte("kernel_cmdline: /k ro\x00"), measured: []byte("/k ro")}, true},
		{"stub section name", record{pcr: 11, typ: IPL, data: utf16le(".linux\x00"), measured: []byte(".linux\x00")}, true},
		{"stub section content", record{pcr: 11, typ: IPL, data: utf16le(".linux\x00"), measured: []byte("MZ")}, false},
		{"file", record{pcr: 9, typ: IPL, data: []byte("/boot/grub.cfg\x00"), measured: []byte("set")}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &mustParse(t, buildLog(tt.r)).Events[0]
			for _, a := range []pcr.Algorithm{pcr.SHA1, pcr.SHA256} {
				if got := e.DataMatches(a); got != tt.want {
					t.Errorf("DataMatches(%s) = %v, want %v", a, got, tt.want)
				}
			}
			if e.DataMatches(pcr.SHA512) || loose(tt.r.pcr, tt.r.typ, tt.r.data).DataMatches(pcr.SHA256) {
				t.Error("matches without a digest")
			}
		})
	}
}
