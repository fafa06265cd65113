package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// mapWidth is how many characters the picture of a chip has.
const mapWidth = 64

// mapSigns are the characters of the picture, by standing. "?" is memory that no region covers.
var mapSigns = map[v1.Standing]byte{
	v1.Matched: '=', v1.Explained: '=', v1.Unknown: 'X', v1.Changed: 'X', v1.Denied: 'X', v1.Missing: 'X', v1.Excluded: '-',
	v1.Unreadable: '!', v1.Uncovered: '~',
}

func (a *app) writeFlashMap(w io.Writer, f *v1.Flash) error {
	if len(f.Chips) == 0 {
		_, err := fmt.Fprintf(w, "nothing is known of the flash memory: %s\n", safe(f.None))
		return err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "result %d; read up to %s before it; self-asserted\n", f.Result, roughly(time.Duration(f.Age)*time.Second))
	for i := range f.Chips {
		chip := &f.Chips[i]
		fmt.Fprintf(&out, "\n%s", a.paint(safe(chip.Source), bold))
		if chip.Size > 0 {
			fmt.Fprintf(&out, "  %s\n[%s]\n", size(chip.Size), a.chipPicture(chip))
		} else {
			fmt.Fprintln(&out)
		}
		t := a.table("OFFSET", "LENGTH", "REGION", "STANDING", "DIGEST", "REFERENCE", "LEFT OUT", "WHY", "+EXPECTED")
		t.width = textWidth
		for j := range chip.Regions {
			r := &chip.Regions[j]
			digest := r.Digest
			if a.output != "wide" {
				digest = clipDigest(digest)
			}
			t.rows = append(t.rows, []cell{
				{text: fmt.Sprintf("0x%x", r.Offset)},
				{text: size(r.Length)},
				{text: r.Name},
				{string(r.Standing), standingColour(r.Standing)},
				{text: digest},
				{text: r.Reference},
				{text: a.leftOut(r.Excluded)},
				{text: r.Why},
				{text: r.Expected},
			})
		}
		if err := t.write(&out); err != nil {
			return err
		}
	}
	fmt.Fprintln(&out, "\n= good  X not as it should be  - left out by the signed reference  ! unreadable  ~ no reference  "+
		"? not reported")
	_, err := out.WriteTo(w)
	return err
}

// leftOut lists the ranges that the signed reference leaves out.
func (a *app) leftOut(spans []v1.ChipSpan) string {
	var total uint64
	parts := make([]string, len(spans))
	for i, s := range spans {
		total += s.Length
		parts[i] = fmt.Sprintf("0x%x+%s", s.Offset, size(s.Length))
		if s.Why != "" {
			parts[i] += " (" + s.Why + ")"
		}
	}
	switch {
	case len(spans) == 0:
		return ""
	case a.output == "wide" || len(spans) == 1:
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("%s in %d ranges", size(total), len(spans))
}

// chipPicture draws a chip. What weighs most shows in a place that several ranges share: a bad byte is never hidden by a
// good megabyte.
func (a *app) chipPicture(chip *v1.Chip) string {
	place := make([]v1.Standing, mapWidth)
	draw := func(offset, length uint64, s v1.Standing) {
		if length == 0 || offset >= chip.Size {
			return
		}
		end := min(length, chip.Size-offset) + offset
		from, to := scale(offset, chip.Size), max(scale(end-1, chip.Size), scale(offset, chip.Size))
		for i := from; i <= to; i++ {
			if place[i] == "" || rank(s) < rank(place[i]) {
				place[i] = s
			}
		}
	}
	for _, r := range chip.Regions {
		draw(r.Offset, r.Length, r.Standing)
		for _, e := range r.Excluded {
			if e.Offset < r.Length {
				draw(r.Offset+e.Offset, min(e.Length, r.Length-e.Offset), v1.Excluded)
			}
		}
	}
	var b strings.Builder
	for _, s := range place {
		sign, ok := mapSigns[s]
		if !ok {
			sign = '?'
		}
		b.WriteString(a.paint(string(sign), standingColour(s)))
	}
	return b.String()
}

// scale returns the character of the picture for an offset below size.
func scale(offset, size uint64) int {
	return min(int(float64(offset)/float64(size)*mapWidth), mapWidth-1)
}

// rank orders standings by weight, the heaviest first.
func rank(s v1.Standing) int {
	for i, one := range standings {
		if s == one {
			return i
		}
	}
	return len(standings)
}
