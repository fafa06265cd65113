package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Discover returns what a machine's kernel shows of its flash: all MTD devices, which are the partitions of a
// devicetree where it has any, and the boot areas of eMMC. Regions have the names that the kernel gives; bytes that do
// not belong in a name become _, and a name that occurs twice gets the device as a suffix.
//
// A device whose partitions the kernel shows beside it is not a region itself: every byte comes once. What its
// partitions leave open are regions too, named DEVICE@OFFSET, since a gap is where nobody looks.
//
// SPI buses are not discovered (see the package comment). The errors say what could not be looked at; the regions are
// good all the same. They are at most MaxRegions.
func (m Machine) Discover() ([]Region, []error) {
	t := m.tree()
	regions, errs := t.discoverMTD()
	boot, err := t.discoverBoot()
	if err != nil {
		errs = append(errs, err)
	}
	regions = append(regions, boot...)
	if n := len(regions); n > MaxRegions {
		errs = append(errs, fmt.Errorf("%d regions of flash, of which %d are left out: list those that matter in a layout",
			n, n-MaxRegions))
		regions = regions[:MaxRegions]
	}
	return regions, errs
}

func (t tree) discoverMTD() ([]Region, []error) {
	numbers, err := t.mtdNumbers()
	if errors.Is(err, fs.ErrNotExist) { // a machine without MTD
		return nil, nil
	}
	if err != nil {
		return nil, []error{err}
	}
	var errs []error
	infos := map[int]mtdInfo{}
	parts := map[int][]mtdInfo{} // by the device that they are a part of
	for _, n := range numbers {
		i, err := t.mtdInfo(n)
		if err != nil {
			errs = append(errs, fmt.Errorf("mtd:mtd%d: %w", n, err))
			continue
		}
		infos[n] = i
		if i.parent >= 0 && i.chip.Partition {
			parts[i.parent] = append(parts[i.parent], i)
		}
	}
	var out []Region
	taken := map[string]bool{}
	for _, n := range numbers {
		i, ok := infos[n]
		if !ok || i.chip.Size == 0 { // a slot without its chip
			continue
		}
		if len(parts[n]) == 0 {
			out = append(out, Region{Name: uniqueName(taken, i), Source: i.source(), Length: i.chip.Size})
			continue
		}
		out = append(out, gaps(taken, i, parts[n])...)
	}
	return out, errs
}

func (i mtdInfo) source() Source { return Source{Kind: MTD, Name: fmt.Sprintf("mtd%d", i.number)} }

// gaps returns the ranges of a device that none of its partitions covers.
func gaps(taken map[string]bool, whole mtdInfo, parts []mtdInfo) []Region {
	var out []Region
	add := func(from, to uint64) {
		gap := whole
		gap.chip.Label = fmt.Sprintf("%s@%#x", clipName(whole.chip.Label), from)
		out = append(out, Region{Name: uniqueName(taken, gap), Source: whole.source(), Offset: from, Length: to - from})
	}
	for at := uint64(0); at < whole.chip.Size; {
		next, covered := whole.chip.Size, false // the nearest partition after at; whether one has the byte at it
		for _, p := range parts {
			if p.offset > at {
				next = min(next, p.offset)
			} else if end := p.offset + p.chip.Size; end > at {
				at, covered = end, true
			}
		}
		if !covered {
			add(at, next)
			at = next
		}
	}
	return out
}

// uniqueName makes a name from what the kernel calls a device.
func uniqueName(taken map[string]bool, i mtdInfo) string {
	name := strings.Map(func(r rune) rune {
		if notInName(r) {
			return '_'
		}
		return r
	}, clipName(i.chip.Label))
	if validName(name) != nil {
		name = strings.TrimRight(fmt.Sprintf("mtd%d%s", i.number, name), " ")
	}
	if taken[name] {
		name = fmt.Sprintf("%s@mtd%d", name, i.number)
	}
	taken[name] = true
	return name
}

// clipName leaves room for a suffix in a name.
func clipName(s string) string { return s[:min(len(s), MaxName-24)] }

// discoverBoot finds the boot areas of eMMC, which are block devices of their own: mmcblk0boot0, mmcblk0boot1.
func (t tree) discoverBoot() ([]Region, error) {
	names, err := t.names("sys/block")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []Region
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "mmcblk")
		if !ok {
			continue
		}
		if card, area, ok := strings.Cut(rest, "boot"); ok && canonical(card) && canonical(area) {
			out = append(out, Region{Name: name, Source: Source{Kind: Block, Name: "/dev/" + name}})
		}
	}
	return out, nil
}
