package web

import (
	"fmt"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// flashPart is a device's flash memory.
type flashPart struct {
	Flash  *v1.Flash // nil: there is no result
	Chips  []chipPart
	Legend []standingView
}

// chipPart is one chip as a map and as a table.
type chipPart struct {
	*v1.Chip
	Maps []chipMap
	Rows []regionRow
}

// regionRow is one region.
type regionRow struct {
	*v1.ChipRange
	Number int
	View   standingView
	Anchor string
	Place  string
	Holes  []string // what is left out
}

// deviceFlash draws the flash memory as a map of each chip.
func (p *page) deviceFlash() error {
	v, done, err := p.deviceOf()
	if err != nil || done {
		return err
	}
	part := &flashPart{}
	var flash v1.Flash
	found, err := p.detail(v, "flash", nil, &flash)
	if err != nil {
		return err
	}
	if found {
		part.fill(&flash)
	}
	v.Part = part
	return p.show("flash", "Flash map · "+deviceName(v.Device), v)
}

func (f *flashPart) fill(flash *v1.Flash) {
	f.Flash = flash
	seen := map[v1.Standing]bool{}
	for i := range flash.Chips {
		c := &flash.Chips[i]
		chip := chipPart{Chip: c}
		for _, at := range pictureWidths {
			chip.Maps = append(chip.Maps, drawChip(c, i+1, at))
		}
		for k := range c.Regions {
			r := &c.Regions[k]
			seen[r.Standing] = true
			row := regionRow{
				ChipRange: r, Number: k + 1, View: standingOf(r.Standing),
				Anchor: fmt.Sprintf("chip-%d-region-%d", i+1, k+1), Place: extent(r.Offset, r.Length),
			}
			for _, h := range r.Excluded {
				seen[v1.Excluded] = true
				from, to := hole(r, h)
				text := extent(from, to-from)
				if h.Why != "" {
					text += ": " + h.Why
				}
				row.Holes = append(row.Holes, text)
			}
			chip.Rows = append(chip.Rows, row)
		}
		f.Chips = append(f.Chips, chip)
	}
	f.Legend = legend(seen)
}
