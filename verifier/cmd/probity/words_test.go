package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func TestCount(t *testing.T) {
	for n, want := range map[int]string{
		0: "0 devices", 1: "1 device", 999: "999 devices", 1000: "1,000 devices", 1234567: "1,234,567 devices",
		-1000: "-1,000 devices",
	} {
		if got := count(n, "device"); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
}

// What is not nothing and not all never shows as such.
func TestShare(t *testing.T) {
	for _, tt := range []struct {
		n, all int
		want   string
		bar    int
	}{
		{0, 0, "0 %", 1},
		{0, 5, "0 %", 1},
		{5, 5, "100 %", barWidth},
		{1, 1_000_000, "<0.1 %", 1},
		{
			999_999, 1_000_000,
			">99.9 %", barWidth - 1,
		},
		{1, 3, "33.3 %", 13},
	} {
		if got := share(tt.n, tt.all); got != tt.want {
			t.Errorf("share(%d, %d) = %q, want %q", tt.n, tt.all, got, tt.want)
		}
		if got := len(bar(tt.n, tt.all)); got != tt.bar {
			t.Errorf("bar(%d, %d) has %d characters, want %d", tt.n, tt.all, got, tt.bar)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 1: "1 byte", 1024: "1,024 bytes", 64 << 10: "64.0 KiB", 8 << 20: "8.0 MiB", 32 << 30: "32.0 GiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestMomentOrAge(t *testing.T) {
	now := time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-03-01": time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), "2026-03-01T01:00:00+01:00": time.Date(2026, 3, 1, 0, 0,
			0, 0, time.UTC),
		"7d": now.AddDate(0, 0, -7), "90m": now.Add(-90 * time.Minute), "0.5d": now.Add(-12 * time.Hour),
	} {
		if got, err := momentOrAge(text, now); err != nil || !got.Equal(want) {
			t.Errorf("momentOrAge(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-1h", "-1d", "d", "1e9d", "2026-13-01"} {
		if got, err := momentOrAge(text, now); err == nil {
			t.Errorf("momentOrAge(%q) = %v, want an error", text, got)
		}
	}
}

// Pages end when there is nothing more, when there is enough, and when a server goes in circles with empty pages.
func TestPages(t *testing.T) {
	var asked []int
	ask := func(n int, more bool) func(int) (int, bool, error) {
		return func(want int) (int, bool, error) {
			asked = append(asked, want)
			return min(n, want), more, nil
		}
	}
	for _, tt := range []struct {
		limit, n int
		more     bool
		want     []int
	}{{250, 100, true, []int{100, 100, 50}}, {250, 7, false, []int{100}}, {250, 0, true, []int{100}}} {
		asked = nil
		if err := pages(tt.limit, ask(tt.n, tt.more)); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.want, asked); diff != "" {
			t.Errorf("pages(%d) asked for -want +got:\n%s", tt.limit, diff)
		}
	}
	failed := errors.New("failed")
	if err := pages(1, func(int) (int, bool, error) { return 0, false, failed }); !errors.Is(err, failed) {
		t.Errorf("pages() = %v, want the error", err)
	}
}

func TestReadEvents(t *testing.T) {
	const stream = ": heartbeat\n\nid: 7\nevent: device\ndata: {\"device\":\ndata: \"x\"}\n\nevent: nothing\n\ndata:y\r\n\n"
	var got []streamEvent
	if err := readEvents(strings.NewReader(stream), func(e streamEvent) { got = append(got, e) }); err != nil {
		t.Fatal(err)
	}
	want := []streamEvent{{"device", "{\"device\":\n\"x\"}\n"}, {"", "y\n"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(streamEvent{})); diff != "" {
		t.Errorf("readEvents() -want +got:\n%s", diff)
	}
	for name, bad := range map[string]string{
		"a long line":  "data: " + strings.Repeat("x", maxStreamLine) + "\n\n",
		"a long event": strings.Repeat("data: "+strings.Repeat("x", 1<<10)+"\n", 100),
	} {
		if err := readEvents(strings.NewReader(bad), func(streamEvent) { t.Errorf("%s: an event", name) }); err == nil {
			t.Errorf("%s: readEvents() = nil, want an error", name)
		}
	}
}

func TestPutOff(t *testing.T) {
	for _, tt := range []struct {
		status int
		header string
		want   time.Duration
		again  bool
	}{{429, "3", 3 * time.Second, true}, {503, "0", 0, true}, {429, "", 0, false}, {429, "-1", 0, false}, {
		429, "soon",
		0, false,
	}, {500, "3", 0, false}} {
		res := &http.Response{StatusCode: tt.status, Header: http.Header{"Retry-After": {tt.header}}}
		if got, again := putOff(res); got != tt.want || again != tt.again {
			t.Errorf("putOff(%d, %q) = %v, %t, want %v, %t", tt.status, tt.header, got, again, tt.want, tt.again)
		}
	}
}

// A chip's picture never hides what is bad behind what is good, and takes numbers as devices may give them.
func TestChipPicture(t *testing.T) {
	a := &app{}
	huge := ^uint64(0)
	for _, tt := range []struct {
		name    string
		regions []v1.ChipRange
		want    string
	}{
		{"nothing", nil, strings.Repeat("?", mapWidth)},
		{"all good", []v1.ChipRange{{Length: 1 << 20, Standing: v1.Matched}}, strings.Repeat("=", mapWidth)},
		{
			"one bad byte",
			[]v1.ChipRange{{Length: 1, Standing: v1.Unknown}, {Length: 1 << 20, Standing: v1.Matched}},
			"X" + strings.Repeat("=", mapWidth-1),
		},
		{"the last byte", []v1.ChipRange{{Length: 1 << 20, Standing: v1.Matched}, {
			Offset: 1<<20 - 1, Length: 1,
			Standing: v1.Denied,
		}}, strings.Repeat("=", mapWidth-1) + "X"},
		{"beyond the end", []v1.ChipRange{{Offset: 1 << 20, Length: 5, Standing: v1.Unknown}, {
			Offset: 5, Length: huge,
			Standing: v1.Matched,
		}}, strings.Repeat("=", mapWidth)},
		{"empty", []v1.ChipRange{{Offset: 5, Standing: v1.Unknown}}, strings.Repeat("?", mapWidth)},
		{"hole beyond its region", []v1.ChipRange{{
			Length: 1 << 20, Standing: v1.Matched,
			Excluded: []v1.ChipSpan{{Offset: huge, Length: huge}},
		}}, strings.Repeat("=", mapWidth)},
		{"a strange standing", []v1.ChipRange{{Length: 1 << 20, Standing: hostile}}, strings.Repeat("?", mapWidth)},
	} {
		if got := a.chipPicture(&v1.Chip{Size: 1 << 20, Regions: tt.regions}); got != tt.want {
			t.Errorf("%s: chipPicture() = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A table is as wide as the terminal as far as that is possible, and -o wide cuts nothing.
func TestTableFits(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, tt := range []struct {
		output  string
		columns int
		want    string
	}{
		{"table", 0, "A             B\nabababababab  " + strings.Repeat("x", 100) + "\n"},
		{"table", 40, "A             B\nabababababab  " + strings.Repeat("x", 25) + "…\n"},
		{"table", 10, "A             B\nabababababab  " + strings.Repeat("x", 15) + "…\n"},
		{"wide", 40, "A             B" + strings.Repeat(" ", 99) + "  C\nabababababab  " + long + "  z\n"},
	} {
		a := &app{output: tt.output, columns: tt.columns}
		table := a.table("A", "B", "+C")
		table.add("abababababab", long, "z")
		var b strings.Builder
		if err := table.write(&b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("table with -o %s in %d columns -want +got:\n%s", tt.output, tt.columns, diff)
		}
	}
}
