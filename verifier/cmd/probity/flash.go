package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// strengthLines say what the evidence on each part of a device rests on.
func strengthLines(r *result.Result) []line {
	if r.Strength == (result.Strengths{}) {
		return nil
	}
	var lines []line
	for _, m := range submods {
		lines = append(lines, line{string(m), r.Strength.Of(m).Meaning()})
	}
	return lines
}

// writeRegions writes what a device says of its flash memory.
func (a *app) writeRegions(w io.Writer, r *result.Result) error {
	if len(r.Regions) == 0 {
		return nil
	}
	read := ""
	if r.FlashAge > 0 {
		read = ", read up to " + roughly(time.Duration(r.FlashAge)*time.Second) + " before the report"
	}
	if _, err := fmt.Fprintf(w, "\nFlash memory (%s%s)\n", safe(string(r.Strength.Flash)), read); err != nil {
		return err
	}
	t := a.table("REGION", "SOURCE", "LENGTH", "DIGEST", "STATUS", "EXCLUDED")
	t.width = textWidth
	for i := range r.Regions {
		g := &r.Regions[i]
		status := string(g.Status)
		if g.Reason != "" {
			status += ": " + g.Reason
		}
		length := ""
		if g.Length > 0 {
			length = strconv.FormatUint(g.Length, 10)
		}
		t.rows = append(t.rows, []cell{
			{text: g.Name},
			{text: g.Source},
			{text: length},
			{text: clipDigest(g.Digest)},
			{text: status, colour: regionColour(g.Status)},
			{text: excluded(g)},
		})
	}
	return t.write(w)
}

// excluded says which bytes of a region its digest does not cover.
func excluded(g *result.Region) string {
	var parts []string
	shown := uint64(0)
	for _, e := range g.Excluded {
		parts = append(parts, fmt.Sprintf("%#x+%d", e.Offset, e.Length))
		shown += e.Length
	}
	if more := g.Left - shown; g.Left > shown {
		parts = append(parts, fmt.Sprintf("%d bytes more", more))
	}
	return strings.Join(parts, ", ")
}

func regionColour(s result.RegionStatus) string {
	switch s {
	case result.RegionSame:
		return green
	case result.RegionChanged:
		return red
	case result.RegionMissing, result.RegionUnavailable:
		return yellow
	}
	return ""
}
