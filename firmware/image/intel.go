package image

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Fields of an Intel flash descriptor ("Intel 100 Series PCH SPI Programming Guide", descriptor map and region
// section).
const (
	descriptorSignature = 0x0ff0a55a
	descriptorSize      = 0x1000
	descriptorRegions   = 16
)

var regionNames = [descriptorRegions]string{
	"descriptor", "bios", "me", "gbe", "platform data", "device expansion 1", "bios 2", "microcode", "ec", "device expansion 2",
	"ie", "10gbe 1", "10gbe 2", "reserved 13", "reserved 14", "ptt",
}

// flash splits an image that begins with an Intel flash descriptor into its regions. ok is false if it is none.
func (p *parser) flash(root *Part) (ok bool, err error) {
	b := root.data
	at := -1
	for _, o := range []int{16, 0} {
		if len(b) >= o+descriptorSize && binary.LittleEndian.Uint32(b[o:]) == descriptorSignature {
			at = o
			break
		}
	}
	if at < 0 {
		return false, nil
	}
	regions, err := p.regions(root, at)
	if err != nil {
		return true, err
	}
	done := 0
	for _, r := range regions {
		if err := p.gap(root, done, r.start); err != nil {
			return true, err
		}
		c, err := p.add(root, KindRegion, r.start, r.end)
		if err != nil {
			return true, err
		}
		c.Name = r.name
		done = r.end
		if r.name == "descriptor" { // a table, in which nothing else can stand
			continue
		}
		if err := p.area(c, 0, len(c.data)); err != nil {
			return true, err
		}
	}
	return true, p.gap(root, done, len(b))
}

type region struct {
	name       string
	start, end int
	field      int // where the descriptor tells it
}

// regions reads the region section of a descriptor whose signature is at byte at.
func (p *parser) regions(root *Part, at int) ([]region, error) {
	b := root.data
	maps := binary.LittleEndian.Uint32(b[at+4:])
	section := int(maps>>16&0xff) << 4
	masters := int(binary.LittleEndian.Uint32(b[at+8:])&0xff) << 4
	n := descriptorRegions
	if masters > section { // older descriptors have fewer, and the masters' section follows
		n = min(n, (masters-section)/4)
	}
	if section+4*n > descriptorSize {
		return nil, p.fail(root, at+4, "region section at %#x exceeds the descriptor", section)
	}
	var out []region
	for i := range n {
		v := binary.LittleEndian.Uint32(b[section+4*i:])
		start, end := int(v&0x7fff)<<12, int(v>>16&0x7fff)<<12|0xfff
		if end < start || v == 0xffffffff || i > 0 && v == 0 {
			continue // not used
		}
		r := region{regionNames[i], start, end + 1, section + 4*i}
		if r.end > len(b) {
			return nil, p.fail(root, r.field, "region %s ends at %#x, the image at %#x: the image is cut off", r.name, r.end, len(b))
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, p.fail(root, section, "descriptor without regions")
	}
	slices.SortStableFunc(out, func(x, y region) int { return cmp.Compare(x.start, y.start) })
	for i, r := range out[1:] {
		if before := out[i]; r.start < before.end {
			return nil, p.fail(root, r.field, "region %s at %#x overlaps region %s, which ends at %#x", r.name, r.start, before.name, before.end)
		}
	}
	return out, nil
}

// Fields of an update of Intel's microcode (Intel SDM, volume 3A, section 10.11.1).
const (
	microcodeHeader  = 48
	microcodeLargest = 16 << 20
)

// microcodeAt returns the size of the update that b begins with, 0 if it is none.
func microcodeAt(b []byte) int {
	if len(b) < microcodeHeader {
		return 0
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	date := word(8) // BCD, mmddyyyy
	if word(0) != 1 || word(20) != 1 || word(24)&^0xff != 0 || date>>24 == 0 || date>>24 > 0x12 || date>>16&0xff == 0 ||
		date>>16&0xff > 0x31 || date&0xffff < 0x1995 || date&0xffff > 0x2099 {
		return 0
	}
	data, total := word(28), word(32)
	if data == 0 {
		data, total = 2000, 2048
	}
	if total > microcodeLargest || total%1024 != 0 || uint64(data)+microcodeHeader > uint64(total) || uint64(total) > uint64(len(b)) {
		return 0
	}
	return int(total)
}

// microcode keeps the update at content[at].
func (p *parser) microcode(in *Part, at, end int) (int, error) {
	b := in.content()[at:end]
	n := microcodeAt(b)
	c, err := p.add(in, KindMicrocode, at, at+n)
	if err != nil {
		return 0, err
	}
	c.header = microcodeHeader
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	date := word(8)
	c.Name = fmt.Sprintf("%08x", word(12))
	c.Detail = fmt.Sprintf("processor signature %08x, flags %02x, revision %08x of %04x-%02x-%02x", word(12), word(24), word(4),
		date&0xffff, date>>24, date>>16&0xff)
	var sum uint32
	for i := 0; i < n; i += 4 {
		sum += word(i)
	}
	if sum != 0 {
		c.problem("checksum of the microcode is wrong")
	}
	return at + n, nil
}
