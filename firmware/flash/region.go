package flash

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Range is a range of bytes in a region.
type Range struct {
	Offset uint64 // from the start of the region
	Length uint64
}

// End returns the offset after the range's last byte.
func (r Range) End() uint64 { return r.Offset + r.Length }

func (r Range) String() string { return fmt.Sprintf("%#x+%#x", r.Offset, r.Length) }

// Region is a named range of a source.
type Region struct {
	// Name is unique on a machine: 1 to 64 letters, digits and the characters . _ - + @ and space of ASCII, beginning
	// with a letter or digit and not ending with a space. Regions that a pattern matched have the pattern's name, a
	// slash and the part of the path that the pattern left open.
	Name   string
	Source Source
	Offset uint64 // in the source, in bytes
	Length uint64 // in bytes; 0: to the end of the source
	// Exclude lists what differs from one device to the next by design, such as NVRAM and MAC addresses, in ascending
	// order and apart from each other. Hash takes these bytes for 0xff and does not read them.
	Exclude []Range
	// Reasons say why each range of Exclude differs, for people who read a manifest: "NVRAM variables". Nil, or as many
	// as there are ranges, "" where none is stated.
	Reasons []string
}

// Valid checks everything about a region that can be told without its source.
func (r Region) Valid() error {
	if err := validName(r.Name); err != nil {
		return err
	}
	if r.Offset+r.Length < r.Offset {
		return fmt.Errorf("length: %#x bytes at %#x exceed every address", r.Length, r.Offset)
	}
	return r.validExclude()
}

// excludeError says which excluded range is wrong, and why.
type excludeError struct {
	index  int // -1: all together
	detail string
}

func (e *excludeError) Error() string {
	if e.index < 0 {
		return "exclude: " + e.detail
	}
	return fmt.Sprintf("exclude[%d]: %s", e.index, e.detail)
}

func (r Region) validExclude() error {
	if n := len(r.Exclude); n > MaxRanges {
		return &excludeError{-1, fmt.Sprintf("%d ranges, at most %d allowed", n, MaxRanges)}
	}
	var sum, before uint64
	for i, x := range r.Exclude {
		detail := ""
		switch {
		case x.Length == 0:
			detail = fmt.Sprintf("no bytes at %#x: want a length over 0", x.Offset)
		case x.End() < x.Offset, r.Length > 0 && x.End() > r.Length:
			detail = fmt.Sprintf("%v is outside the region of %#x bytes: offsets count from the region's start", x, r.Length)
		case i > 0 && x.Offset < before:
			detail = fmt.Sprintf("%v overlaps %v or stands after it: want ascending offsets", x, r.Exclude[i-1])
		case i > 0 && x.Offset == before:
			detail = fmt.Sprintf("%v touches %v: write them as one range", x, r.Exclude[i-1])
		}
		if detail != "" {
			return &excludeError{i, detail}
		}
		before, sum = x.End(), sum+x.Length
	}
	if r.Length > 0 && sum == r.Length {
		return &excludeError{-1, "nothing is left to hash"}
	}
	return nil
}

// Fit returns the region as it lies in a source of size bytes, its Length filled in. The error wraps ErrOutside if it
// does not lie there.
func (r Region) Fit(size uint64) (Region, error) {
	if r.Offset >= size || r.Length > size-r.Offset {
		return Region{}, fmt.Errorf("region %q: %s at %#x of %v: %w, which has %#x bytes",
			r.Name, lengthText(r.Length), r.Offset, r.Source, ErrOutside, size)
	}
	if r.Length == 0 {
		r.Length = size - r.Offset
	}
	if err := r.validExclude(); err != nil {
		return Region{}, fmt.Errorf("region %q: %w", r.Name, err)
	}
	return r, nil
}

func lengthText(n uint64) string {
	if n == 0 {
		return "all"
	}
	return fmt.Sprintf("%#x bytes", n)
}

// overlaps reports whether two regions of one source share bytes.
func (r Region) overlaps(o Region) bool {
	return r.Source == o.Source &&
		(r.Length == 0 || r.Offset+r.Length > o.Offset) && (o.Length == 0 || o.Offset+o.Length > r.Offset)
}

// Characters of a region's name in a layout.
const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	nameBytes    = alphanumeric + "._-+@ "
)

func validName(name string) error {
	switch {
	case name == "":
		return errors.New("name: is empty")
	case len(name) > MaxName:
		return fmt.Errorf("name: %d bytes, at most %d allowed", len(name), MaxName)
	case strings.ContainsFunc(name, notInName):
		return fmt.Errorf("name %q: want letters, digits and . _ - + @ or space", name)
	case !strings.ContainsRune(alphanumeric, rune(name[0])) || name[len(name)-1] == ' ':
		return fmt.Errorf("name %q: want a letter or digit first and no space last", name)
	}
	return nil
}

// validReason checks a reason: one printable line.
func validReason(s string) error {
	switch {
	case s == "" || len(s) > MaxReason:
		return fmt.Errorf("want 1 to %d bytes of text", MaxReason)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%q: has characters that can not be printed", s)
	}
	return nil
}

func notInName(r rune) bool { return !strings.ContainsRune(nameBytes, r) }
