package eventlog

import (
	"slices"
	"testing"
)

func TestSecureBootCaptured(t *testing.T) {
	for name, want := range map[string]SecureBootState{
		"uki": SecureBootOff, "uki-signed-snakeoil": SecureBootOn, "grub-secure-boot": SecureBootOn,
		"arm64-uboot-uki": SecureBootOff, "arm64-aavmf-uki": SecureBootOff, "systemd-boot": SecureBootOff,
	} {
		raw, quoted := genuine(t, name)
		v, err := mustParse(t, raw).Verify(quoted)
		if err != nil {
			t.Fatal(err)
		}
		got, e := v.SecureBoot()
		if got != want || e == nil || e.Slot() != "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot" {
			t.Errorf("%s: SecureBoot() = %s, %v, want %s", name, got, e, want)
		}
	}
}

func TestSecureBoot(t *testing.T) {
	seps := separators()
	on, off := secureBootRecord(1), secureBootRecord(0)
	before := func(r ...record) []record { return append(r, seps...) }
	hidden := func(r record, data []byte) record {
		return record{pcr: 7, typ: EFIVariableDriverConfig, data: data, measured: r.data}
	}
	elsewhere := on
	elsewhere.pcr = 1
	otherType := on
	otherType.typ = EFIAction
	foreign := record{pcr: 7, typ: EFIVariableDriverConfig, data: variableData(guidShim, "SecureBoot", []byte{1})}
	tail := record{pcr: 7, typ: EFIVariableDriverConfig, data: append(slices.Clone(on.data), 0)}
	tests := []struct {
		name    string
		records []record
		want    SecureBootState
	}{
		{"on", before(on), SecureBootOn},
		{"off", before(off), SecureBootOff},
		{"variable does not exist", before(secureBootRecord()), SecureBootOff},
		{"reserved value", before(secureBootRecord(2)), SecureBootUnknown},
		{"two bytes", before(secureBootRecord(1, 0)), SecureBootUnknown},
		{"not measured", seps, SecureBootUnknown},
		{"twice", before(off, on), SecureBootUnknown},
		{"twice the same", before(on, on), SecureBootUnknown},
		{"after the separator", append(slices.Clone(seps), on), SecureBootUnknown},
		{"off, then on after the separator", append(before(off), on), SecureBootOff},
		{"off shown as on", before(hidden(off, on.data)), SecureBootUnknown},
		{"off hidden, on after the separator", append(before(hidden(off, []byte("x"))), on), SecureBootUnknown},
		{"in PCR 1", before(elsewhere), SecureBootUnknown},
		{"another type", before(otherType), SecureBootUnknown},
		{"another namespace", before(foreign), SecureBootUnknown},
		{"bytes after the variable", before(tail), SecureBootUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := verifyOwn(t, tt.records...)
			if err != nil {
				t.Fatal(err)
			}
			got, e := v.SecureBoot()
			if got != tt.want || (e != nil) != (tt.want != SecureBootUnknown) {
				t.Errorf("SecureBoot() = %s, %v, want %s", got, e, tt.want)
			}
		})
	}
}

// A program that runs after the firmware extends PCR 7 with a forged "on" and a second separator, and sends a log in
// which the true separator is an action and the true state has other data. The replay is right; the rules must catch
// it.
func TestForgedSecureBoot(t *testing.T) {
	off, on := secureBootRecord(0), secureBootRecord(1)
	seps := separators()
	forged := []record{
		{pcr: 7, typ: EFIAction, data: []byte("nothing to see"), measured: off.data},
		{pcr: 7, typ: EFIAction, data: []byte("nor here"), measured: seps[7].data},
		on, seps[7],
	}
	_, err := verifyOwn(t, append(forged, seps[:7]...)...)
	wantRule(t, err, RuleSeparatorDisguised)
}
