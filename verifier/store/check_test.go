package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPageSize(t *testing.T) {
	for limit, want := range map[int]int{-1: 100, 0: 100, 1: 1, 1000: 1000, 1001: 1000, 1 << 40: 1000} {
		if got := PageSize(limit); got != want {
			t.Errorf("PageSize(%d) = %d, want %d", limit, got, want)
		}
	}
}

func TestMicro(t *testing.T) {
	in := time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.FixedZone("east", 3600))
	want := time.Date(2026, 1, 2, 2, 4, 5, 678_901_000, time.UTC)
	if got := Micro(in); got != want {
		t.Errorf("Micro(%v) = %v, want %v", in, got, want)
	}
	if got := Micro(time.Time{}.In(in.Location())); got != (time.Time{}) {
		t.Errorf("Micro of the zero time = %v, want it", got)
	}
	if got := Micro(time.Now()); got != Micro(got) {
		t.Errorf("Micro(%v) = %v, not itself", got, Micro(got))
	}
}

func TestEventsOf(t *testing.T) {
	in := []Event{{Detail: "a"}, {Tenant: "t", Detail: "b"}}
	got, err := EventsOf("t", in)
	if diff := cmp.Diff([]Event{{Tenant: "t", Detail: "a"}, {Tenant: "t", Detail: "b"}}, got); diff != "" || err != nil {
		t.Errorf("EventsOf() = %v, differs (-want +got):\n%s", err, diff)
	}
	if in[0].Tenant != "" {
		t.Error("EventsOf changed its argument")
	}
	for _, bad := range []Event{{Tenant: "other"}, {Kind: "\x00"}, {Actor: "\xff"}} {
		if got, err := EventsOf("t", []Event{bad}); !errors.Is(err, ErrInvalid) || got != nil {
			t.Errorf("EventsOf(%+v) = %v, %v, want ErrInvalid", bad, got, err)
		}
	}
}

// TestErrorsAreShort checks that refused text, which may be megabytes from a stranger, is not repeated in full.
func TestErrorsAreShort(t *testing.T) {
	_, err := EventsOf("t", []Event{{Detail: strings.Repeat("x", 1<<20) + "\x00"}})
	if err == nil || len(err.Error()) > 300 || strings.ContainsRune(err.Error(), 0) {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
}
