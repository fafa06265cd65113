package flash

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/firmware/hostfs"
)

// Layout lists the regions of a machine's flash. Its file is YAML:
//
//	regions:
//	  - name: bios               # see Region.Name
//	    source: mtd:bios         # see Source
//	    offset: 0x10000          # in the source; 0 if left out
//	    length: 8MiB             # to the end of the source if left out
//	    exclude:                 # bytes that differ from device to device, from the region's start
//	      - offset: 0x40000
//	        length: 256KiB
//	        reason: NVRAM variables  # optional here; a manifest states it
//
// Numbers are bytes, decimal or hexadecimal with 0x; a decimal one may have the unit KiB, MiB or GiB.
type Layout struct {
	Regions []Region // in the file's order; none overlaps another of the same source
}

// LayoutError tells where a layout is wrong.
type LayoutError struct {
	Line   int    // in the file, from 1; 0: the whole file
	Key    string // path of the key: "regions[1].exclude[0].offset"; empty: the whole file
	Detail string // what was expected and what was found
}

func (e *LayoutError) Error() string {
	var b strings.Builder
	b.WriteString("flash layout: ")
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	return b.String() + e.Detail
}

// LoadLayout reads a layout from a file.
func LoadLayout(name string) (*Layout, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("flash layout: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "flash layout", Path: name, Err: hostfs.ErrNotRegular}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("flash layout: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxLayoutSize+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("flash layout: %w", err)
	}
	l, err := ParseLayout(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// Check compares a layout with real sizes: every region, and every excluded range of one that goes to the end of its
// source, must lie within it. size returns the bytes of a source; Machine.Size does. Patterns are left out: what they
// match is known only once they are expanded, and checked by Hash. All errors are joined.
func (l *Layout) Check(size func(Source) (uint64, error)) error {
	var errs []error
	known := map[Source]uint64{}
	for _, r := range l.Regions {
		if r.Source.Pattern() {
			continue
		}
		n, seen := known[r.Source]
		if !seen {
			var err error
			if n, err = size(r.Source); err != nil {
				errs = append(errs, fmt.Errorf("region %q: %w", r.Name, err))
				continue
			}
			known[r.Source] = n
		}
		if _, err := r.Fit(n); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// YAML returns the layout as a file, from which ParseLayout makes the same layout.
func (l *Layout) YAML() []byte {
	var b strings.Builder
	if len(l.Regions) == 0 {
		return []byte("regions: []\n")
	}
	b.WriteString("regions:\n")
	for _, r := range l.Regions {
		fmt.Fprintf(&b, "  - name: %s\n    source: %s\n    offset: %#x\n",
			strconv.Quote(r.Name), strconv.Quote(r.Source.String()), r.Offset)
		if r.Length > 0 {
			fmt.Fprintf(&b, "    length: %#x\n", r.Length)
		}
		if len(r.Exclude) > 0 {
			b.WriteString("    exclude:\n")
		}
		for i, x := range r.Exclude {
			fmt.Fprintf(&b, "      - offset: %#x\n        length: %#x\n", x.Offset, x.Length)
			if i < len(r.Reasons) && r.Reasons[i] != "" {
				fmt.Fprintf(&b, "        reason: %s\n", strconv.Quote(r.Reasons[i]))
			}
		}
	}
	return []byte(b.String())
}
