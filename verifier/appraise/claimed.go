package appraise

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
)

// ClaimedValues adds to b what a device that is trusted said of itself: flash regions, hardware and the names of its
// tamper lines. flash and platform are the contents that its claims name, nil where it named none. reportOnly are names
// of flash regions whose change shall only be told; one that was not read is an error.
//
// A region that the device could not read has no reference value. left says which and why, for people.
func ClaimedValues(b *reference.Baseline, claims *proto.Claims, flash, platform []byte, reportOnly []string) (left []string, err error) {
	if flash != nil {
		if left, err = addRegions(b, flash, reportOnly); err != nil {
			return nil, err
		}
	} else if claims.Flash != nil && claims.Flash.Regions.Unavailable != nil {
		left = append(left, "flash memory: "+printable(claims.Flash.Regions.Unavailable.Error()))
	}
	for _, name := range reportOnly {
		if !slices.ContainsFunc(b.Flash, func(r reference.Region) bool { return r.Name == name }) {
			return nil, fmt.Errorf("flash region %q was not read, so it cannot be reported: %s", name, readRegions(b.Flash))
		}
	}
	if platform != nil {
		var p proto.Platform
		if err := proto.Decode(platform, &p); err != nil {
			return nil, fmt.Errorf("platform: %w", err)
		}
		for _, d := range p.Devices {
			b.Inventory = append(b.Inventory, reference.Device{Bus: d.Bus, Address: d.Address, Name: d.Name})
		}
	}
	for _, l := range claims.Tamper {
		b.Tamper = append(b.Tamper, l.Name)
	}
	slices.Sort(b.Tamper)
	return left, nil
}

func readRegions(list []reference.Region) string {
	if len(list) == 0 {
		return "the device read none"
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return "the device read " + strings.Join(names, ", ")
}

func addRegions(b *reference.Baseline, raw []byte, reportOnly []string) (left []string, err error) {
	var m proto.Flash
	if err := proto.Decode(raw, &m); err != nil {
		return nil, fmt.Errorf("flash: %w", err)
	}
	for i := range m.Regions {
		r := &m.Regions[i]
		kind := reference.SourceKind(r.Source)
		switch {
		case r.Unavailable != nil:
			left = append(left, "flash region "+printable(r.Name+": "+r.Unavailable.Error()))
			continue
		case kind == "":
			left = append(left, "flash region "+printable(r.Name)+": it does not say where it was read from")
			continue
		}
		b.Flash = append(b.Flash, reference.Region{
			Name: r.Name, Source: kind, Offset: r.Offset, Length: r.Length, Digest: bytes.Clone(r.Digest),
			Excluded: references(r.Excluded), Bad: references(r.Bad), Chip: r.Chip,
			ReportOnly: slices.Contains(reportOnly, r.Name),
		})
	}
	return left, nil
}

func references(list []proto.FlashRange) []reference.Range {
	var out []reference.Range
	for _, r := range list {
		out = append(out, reference.Range{Offset: r.Offset, Length: r.Length})
	}
	return out
}
