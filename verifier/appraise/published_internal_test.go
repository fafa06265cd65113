package appraise

import "testing"

func TestInSlot(t *testing.T) {
	for _, tt := range []struct {
		pattern, slot string
		want          bool
	}{
		{"EV_IPL a", "EV_IPL a", true},
		{"EV_IPL a", "EV_IPL ab", false},
		{"EV_IPL *", "EV_IPL ", true},
		{"EV_IPL *", "EV_IPL a", true},
		{"EV_IPL *", "EV_SEPARATOR", false},
		{"EV_IPL*", "EV_IPL2", true},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"a*c", "abd", false},
		{"a*a", "a", false}, // the two are different letters
		{"a*b*c", "a-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"a*b*b", "ab", false},
		{"*", "", true},
		{"a*", "a*", true}, // a name that has a star fits itself
		{"", "", true},
		{"", "a", false},
	} {
		if got := inSlot(tt.pattern, tt.slot); got != tt.want {
			t.Errorf("inSlot(%q, %q) = %t, want %t", tt.pattern, tt.slot, got, tt.want)
		}
	}
}
