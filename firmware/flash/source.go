package flash

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Source says where a region is read from. Its text form is KIND:NAME:
//
//	mtd:bios                    the MTD device of that name, as /sys/class/mtd/*/name tells it
//	mtd:mtd0                    the MTD device of that number
//	spi:0.0                     the SPI NOR chip at bus 0, chip select 0: /dev/spidev0.0
//	block:/dev/mmcblk0boot0     a block device
//	file:/lib/firmware/x*.bin   a file or, with *, ?, [ or \ as package path has them, a pattern of files
type Source struct {
	Kind Kind
	Name string
}

// String returns the text form; of the zero Source, that there is none.
func (s Source) String() string {
	if s == (Source{}) {
		return "no source"
	}
	return string(s.Kind) + ":" + s.Name
}

// ParseSource reads the text form. It accepts only the one way of writing a source: no leading zeros, no doubled
// slashes, no "..".
func ParseSource(text string) (Source, error) {
	if len(text) > MaxSource {
		return Source{}, fmt.Errorf("source: %d bytes, at most %d allowed", len(text), MaxSource)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return Source{}, fmt.Errorf("source %q: has characters that can not be printed", text)
	}
	kind, name, ok := strings.Cut(text, ":")
	s := Source{Kind: Kind(kind), Name: name}
	if !ok {
		return Source{}, fmt.Errorf("source %q: want KIND:NAME, such as mtd:bios or block:/dev/mmcblk0boot0", text)
	}
	if name == "" {
		return Source{}, fmt.Errorf("source %q: names nothing after the colon", text)
	}
	switch s.Kind {
	case MTD:
		if n, is := strings.CutPrefix(name, "mtd"); is && allDigits(n) && !canonical(n) {
			return Source{}, fmt.Errorf("source %q: device number %s: want it without leading zeros", text, n)
		}
		return s, nil
	case SPI:
		if _, _, err := s.bus(); err != nil {
			return Source{}, fmt.Errorf("source %q: %w", text, err)
		}
		return s, nil
	case Block, File:
		if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
			return Source{}, fmt.Errorf("source %q: want an absolute path without .. or doubled slashes", text)
		}
		if s.Kind == File && !validPattern(name) {
			return Source{}, fmt.Errorf("source %q: the pattern is malformed: every [ needs its ], every \\ a character", text)
		}
		return s, nil
	}
	return Source{}, fmt.Errorf("source %q: kind %q is unknown: want mtd, spi, block or file", text, kind)
}

// MarshalText implements encoding.TextMarshaler.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler as ParseSource.
func (s *Source) UnmarshalText(b []byte) error {
	parsed, err := ParseSource(string(b))
	if err == nil {
		*s = parsed
	}
	return err
}

// Pattern reports whether the source stands for every file that matches, and must be expanded before it can be opened.
func (s Source) Pattern() bool { return s.Kind == File && hasMeta(s.Name) }

// validPattern checks a pattern part by part: no wildcard reaches over a slash.
func validPattern(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if _, err := path.Match(part, ""); err != nil {
			return false
		}
	}
	return true
}

// hasMeta reports whether a path has an unescaped special character of package path's patterns.
func hasMeta(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

// literal returns the name that a pattern without special characters matches.
func literal(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] == '\\' && i+1 < len(pattern) {
			i++
		}
		b.WriteByte(pattern[i])
	}
	return b.String()
}

// escape returns a pattern that matches only name.
func escape(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// bus returns the bus number and chip select of a SPI source, within what periph.io takes.
func (s Source) bus() (bus, chipSelect int, err error) {
	b, c, ok := strings.Cut(s.Name, ".")
	if !ok || !canonical(b) || !canonical(c) {
		return 0, 0, errors.New("want BUS.CHIPSELECT, such as spi:0.0 for /dev/spidev0.0")
	}
	if bus, err = strconv.Atoi(b); err != nil || bus > 65535 {
		return 0, 0, fmt.Errorf("bus %s: want 0 to 65535", b)
	}
	if chipSelect, err = strconv.Atoi(c); err != nil || chipSelect > 255 {
		return 0, 0, fmt.Errorf("chip select %s: want 0 to 255", c)
	}
	return bus, chipSelect, nil
}

// mtdNumber returns the number in a device name such as mtd12.
func mtdNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "mtd")
	if !ok || !canonical(digits) || len(digits) > 6 {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// canonical reports whether s is a decimal number as it is printed.
func canonical(s string) bool { return allDigits(s) && (s == "0" || s[0] != '0') }

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
