package agent

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/probity-attest/probity/proto"
)

// ShownFlash is what is known of flash.
type ShownFlash struct {
	Age         string        `json:"age,omitempty"` // since the oldest digest was read
	Regions     []ShownRegion `json:"regions,omitempty"`
	Unavailable string        `json:"unavailable,omitempty"`
}

// ShownRegion is a region of flash, with a digest or the reason why there is none.
type ShownRegion struct {
	Name        string       `json:"name"`
	Source      string       `json:"source"`
	Offset      uint64       `json:"offset"`               // in the source, in bytes
	Length      uint64       `json:"length,omitempty"`     // in bytes
	Digest      string       `json:"digest,omitempty"`     // SHA-256, hexadecimal; excluded bytes count as 0xff
	Excluded    []ShownRange `json:"excluded,omitempty"`   // in the region
	Bad         []ShownRange `json:"bad_blocks,omitempty"` // in the region
	Chip        string       `json:"chip,omitempty"`       // JEDEC id, hexadecimal
	Unavailable string       `json:"unavailable,omitempty"`
	Content     bool         `json:"content_may_leave"` // the charter lets an operator have the raw bytes
}

// ShownRange is a range of bytes.
type ShownRange struct {
	Offset uint64 `json:"offset"`
	Length uint64 `json:"length"`
}

// ShownTamper is a contact of the enclosure.
type ShownTamper struct {
	Name        string `json:"name"`
	State       string `json:"state,omitempty"` // "open" or "closed"
	Openings    uint32 `json:"openings"`        // since this program began to watch
	Unavailable string `json:"unavailable,omitempty"`
}

// showFlash waits until flash is read, which the log tells the progress of.
func (a *Agent) showFlash(ctx context.Context) (*ShownFlash, error) {
	if a.flash != nil {
		a.flash.Wait(ctx, math.MaxInt64)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("flash is not read yet: %w (--flash-mode off does without)", err)
	}
	contents := map[proto.Digest]content{}
	status := a.report.flashStatus(ctx, math.MaxInt64, contents)
	switch {
	case status == nil:
		return nil, nil
	case status.Regions.Unavailable != nil:
		return &ShownFlash{Unavailable: status.Regions.Unavailable.Error()}, nil
	}
	b, err := contents[status.Regions.Content.Digest](ctx)
	if err != nil {
		return nil, err
	}
	var m proto.Flash
	if err := proto.Decode(b, &m); err != nil {
		return nil, fmt.Errorf("flash: %w", err)
	}
	out := &ShownFlash{Age: (time.Duration(status.Age) * time.Second).String()}
	for _, r := range m.Regions {
		shown := ShownRegion{
			Name: r.Name, Source: r.Source, Offset: r.Offset, Length: r.Length, Digest: hex.EncodeToString(r.Digest), Chip: r.Chip,
			Excluded: shownRanges(r.Excluded), Bad: shownRanges(r.Bad), Content: a.report.charter.FlashContent(r.Name) == nil,
		}
		if r.Unavailable != nil {
			shown.Unavailable = r.Unavailable.Error()
		}
		out.Regions = append(out.Regions, shown)
	}
	return out, nil
}

func shownRanges(list []proto.FlashRange) []ShownRange {
	var out []ShownRange
	for _, r := range list {
		out = append(out, ShownRange(r))
	}
	return out
}

func (a *Agent) showTamper(ctx context.Context) []ShownTamper {
	var out []ShownTamper
	for _, l := range a.report.tamperLines(ctx) {
		shown := ShownTamper{Name: l.Name, Openings: l.Openings}
		switch {
		case l.Unavailable != nil:
			shown.Unavailable = l.Unavailable.Error()
		case l.State == proto.TamperOpen:
			shown.State = "open"
		default:
			shown.State = "closed"
		}
		out = append(out, shown)
	}
	return out
}

func (s *ShownFlash) rows(row func(name, value string)) {
	if s.Unavailable != "" {
		row("flash", "not available: "+s.Unavailable)
		return
	}
	row("flash", fmt.Sprintf("regions: %d, oldest digest read %s ago", len(s.Regions), s.Age))
	for _, r := range s.Regions {
		row("flash "+r.Name, r.describe())
	}
}

func (r ShownRegion) describe() string {
	var b strings.Builder
	if r.Unavailable != "" {
		b.WriteString("not available: " + r.Unavailable + "; ")
	} else {
		b.WriteString("sha256:" + r.Digest + ", ")
	}
	if r.Length > 0 {
		b.WriteString(strconv.FormatUint(r.Length, 10) + " bytes ")
	}
	fmt.Fprintf(&b, "at %#x of %s", r.Offset, r.Source)
	if r.Chip != "" {
		b.WriteString(", chip " + r.Chip)
	}
	list := func(what string, ranges []ShownRange) {
		if len(ranges) > 0 {
			b.WriteString(", " + what)
		}
		for _, x := range ranges {
			fmt.Fprintf(&b, " %#x+%#x", x.Offset, x.Length)
		}
	}
	list("excluded", r.Excluded)
	list("bad blocks", r.Bad)
	if r.Content {
		b.WriteString(", its raw bytes may leave if an operator asks for them")
	}
	return b.String()
}

func (s ShownTamper) describe() string {
	if s.Unavailable != "" {
		return "not available: " + s.Unavailable
	}
	return fmt.Sprintf("%s, openings since this program began to watch: %d", s.State, s.Openings)
}
