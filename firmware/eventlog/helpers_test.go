package eventlog

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode"
	"unicode/utf8"
)

// wantRule checks that err is a RuleError of this rule.
func wantRule(t testing.TB, err error, want Rule) *RuleError {
	t.Helper()
	var e *RuleError
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want a RuleError with %s", err, want)
	}
	if e.Rule != want {
		t.Fatalf("rule %s (%v), want %s", e.Rule, e, want)
	}
	return e
}

// wantMismatch checks that err is a MismatchError of exactly these PCRs.
func wantMismatch(t testing.TB, err error, pcrs ...int) {
	t.Helper()
	var e *MismatchError
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want a MismatchError", err)
	}
	if len(e.Mismatches) != len(pcrs) {
		t.Fatalf("%v, want mismatches of %v", e, pcrs)
	}
	for i, m := range e.Mismatches {
		if m.PCR != pcrs[i] {
			t.Errorf("mismatch of PCR %d, want %d", m.PCR, pcrs[i])
		}
	}
}

// checkPrintable checks that all decoded text of a log is printable and bounded, and that the view encodes as JSON.
func checkPrintable(t testing.TB, l *Log) {
	t.Helper()
	v := l.View()
	for i, e := range v.Entries {
		checkValue(t, i, e.Slot)
		checkValue(t, i, e.Kind)
		checkValue(t, i, e.Name)
		checkValue(t, i, e.Detail)
		checkValue(t, i, map[string]any(e.Fields))
		if len(e.Slot) > maxSlot+64 {
			t.Errorf("event %d: slot of %d bytes", i, len(e.Slot))
		}
	}
	if _, err := json.Marshal(v); err != nil {
		t.Errorf("View is no JSON: %v", err)
	}
}

func checkValue(t testing.TB, event int, v any) {
	t.Helper()
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) {
			t.Errorf("event %d: %q is not UTF-8", event, v)
		}
		for _, r := range v {
			if !unicode.IsPrint(r) {
				t.Errorf("event %d: %q has the unprintable %U", event, v, r)
			}
		}
	case []string:
		for _, s := range v {
			checkValue(t, event, s)
		}
	case map[string]any:
		for k, x := range v {
			checkValue(t, event, k)
			checkValue(t, event, x)
		}
	case []map[string]any:
		for _, m := range v {
			checkValue(t, event, m)
		}
	case bool, int, uint32, uint64, nil:
	default:
		t.Errorf("event %d: field of type %T", event, v)
	}
}
