package flash

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSource(t *testing.T) {
	for text, want := range map[string]Source{
		"mtd:bios":                  {MTD, "bios"},
		"mtd:mtd0":                  {MTD, "mtd0"},
		"mtd:RedBoot config":        {MTD, "RedBoot config"},
		"mtd:0.firmware":            {MTD, "0.firmware"},
		"mtd:a:b":                   {MTD, "a:b"},
		"spi:0.0":                   {SPI, "0.0"},
		"spi:65535.255":             {SPI, "65535.255"},
		"block:/dev/mmcblk0boot0":   {Block, "/dev/mmcblk0boot0"},
		"file:/lib/firmware/x*.bin": {File, "/lib/firmware/x*.bin"},
		`file:/a\*b`:                {File, `/a\*b`},
	} {
		got, err := ParseSource(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseSource(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseSourceRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "want KIND:NAME",
		"bios":                   "want KIND:NAME",
		"mtd:":                   "names nothing",
		"usb:1":                  "unknown",
		"MTD:bios":               "unknown",
		"mtd:mtd00":              "without leading zeros",
		"mtd:a\nb":               "can not be printed",
		"mtd:\xff":               "can not be printed",
		"spi:0":                  "BUS.CHIPSELECT",
		"spi:0.00":               "BUS.CHIPSELECT",
		"spi:-1.0":               "BUS.CHIPSELECT",
		"spi:65536.0":            "0 to 65535",
		"spi:0.256":              "0 to 255",
		"spi:0.9999999999999999": "0 to 255",
		"block:mmcblk0":          "absolute",
		"block:/dev/../mem":      "absolute",
		"file:/":                 "absolute",
		"file:/a//b":             "absolute",
		"file:/a/":               "absolute",
		"file:/a[":               "malformed",
		"file:/[a/b]":            "malformed",
		`file:/a\`:               "malformed",
		"file:/" + strings.Repeat("a", MaxSource): "at most",
	} {
		got, err := ParseSource(text)
		if err == nil || !strings.Contains(err.Error(), want) || got != (Source{}) {
			t.Errorf("ParseSource(%q) = %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestSourceText(t *testing.T) {
	var s Source
	if err := s.UnmarshalText([]byte("spi:1.2")); err != nil || s != (Source{SPI, "1.2"}) {
		t.Errorf("UnmarshalText(spi:1.2) = %v, %v", s, err)
	}
	if err := s.UnmarshalText([]byte("spi:x")); err == nil || s != (Source{SPI, "1.2"}) {
		t.Errorf("UnmarshalText(spi:x) = %v, %v, want an error and the former value", s, err)
	}
	if b, err := s.MarshalText(); err != nil || string(b) != "spi:1.2" {
		t.Errorf("MarshalText() = %s, %v", b, err)
	}
}

func TestPattern(t *testing.T) {
	for name, want := range map[string]bool{
		"/a/b.bin": false, "/a/*.bin": true, "/a?/b": true, "/[ab]": true, `/a\*`: false, `/a\\*`: true,
	} {
		if got := (Source{File, name}).Pattern(); got != want {
			t.Errorf("Pattern(%q) = %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{`a*b?c[d]e\f`, `\`, "*", ""} {
		if got := literal(escape(name)); got != name || hasMeta(escape(name)) {
			t.Errorf("literal(escape(%q)) = %q", name, got)
		}
	}
}

func TestRegionValid(t *testing.T) {
	base := Region{Name: "bios", Source: Source{MTD, "mtd0"}, Length: 100}
	with := func(change func(*Region)) Region {
		r := base
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		region Region
		want   string // "": valid
	}{
		"plain":            {base, ""},
		"open end":         {with(func(r *Region) { r.Length = 0 }), ""},
		"names of MTD":     {with(func(r *Region) { r.Name = "0.u-boot_env 2@x+y" }), ""},
		"two ranges":       {with(func(r *Region) { r.Exclude = []Range{{0, 10}, {11, 89}} }), ""},
		"no name":          {with(func(r *Region) { r.Name = "" }), "empty"},
		"long name":        {with(func(r *Region) { r.Name = strings.Repeat("a", 65) }), "at most 64"},
		"slash":            {with(func(r *Region) { r.Name = "a/b" }), "want letters"},
		"umlaut":           {with(func(r *Region) { r.Name = "ä" }), "want letters"},
		"newline":          {with(func(r *Region) { r.Name = "a\nb" }), "want letters"},
		"leading dash":     {with(func(r *Region) { r.Name = "-rf" }), "letter or digit first"},
		"dots":             {with(func(r *Region) { r.Name = ".." }), "letter or digit first"},
		"trailing space":   {with(func(r *Region) { r.Name = "a " }), "no space last"},
		"over all":         {with(func(r *Region) { r.Offset = 1<<64 - 100 }), "exceed every address"},
		"empty range":      {with(func(r *Region) { r.Exclude = []Range{{5, 0}} }), "exclude[0]: no bytes"},
		"range outside":    {with(func(r *Region) { r.Exclude = []Range{{99, 2}} }), "outside the region"},
		"range overflows":  {with(func(r *Region) { r.Length = 0; r.Exclude = []Range{{1<<64 - 1, 2}} }), "outside the region"},
		"ranges overlap":   {with(func(r *Region) { r.Exclude = []Range{{0, 10}, {9, 2}} }), "exclude[1]"},
		"ranges unsorted":  {with(func(r *Region) { r.Exclude = []Range{{20, 10}, {0, 2}} }), "ascending"},
		"ranges touch":     {with(func(r *Region) { r.Exclude = []Range{{0, 10}, {10, 2}} }), "one range"},
		"nothing left":     {with(func(r *Region) { r.Exclude = []Range{{0, 100}} }), "nothing is left"},
		"too many ranges":  {with(func(r *Region) { r.Exclude = make([]Range, MaxRanges+1) }), "at most 64"},
		"same start twice": {with(func(r *Region) { r.Exclude = []Range{{0, 10}, {0, 10}} }), "exclude[1]"},
	} {
		err := c.region.Valid()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Valid() = %v, want %q", name, err, c.want)
		}
	}
}

func TestFit(t *testing.T) {
	r := Region{Name: "a", Offset: 10}
	got, err := r.Fit(30)
	if want := (Region{Name: "a", Offset: 10, Length: 20}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("Fit(30) = %+v, %v, want %+v", got, err, want)
	}
	for name, c := range map[string]struct {
		region Region
		size   uint64
	}{
		"empty source":   {Region{}, 0},
		"starts at end":  {Region{Offset: 30}, 30},
		"one byte over":  {Region{Offset: 10, Length: 21}, 30},
		"overflows":      {Region{Offset: 10, Length: 1<<64 - 1}, 30},
		"offset at last": {Region{Offset: 1<<64 - 1, Length: 1}, 30},
	} {
		if got, err := c.region.Fit(c.size); !isOutside(err) {
			t.Errorf("%s: Fit(%d) = %+v, %v, want ErrOutside", name, c.size, got, err)
		}
	}
	if _, err := (Region{Exclude: []Range{{5, 30}}}).Fit(30); err == nil {
		t.Error("Fit of an excluded range beyond the source succeeds")
	}
}
