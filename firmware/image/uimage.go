package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Fields of a legacy image's header, all big-endian (U-Boot, include/image.h, struct legacy_img_hdr).
const (
	uImageHeader = 64
	uImageMulti  = 4 // type of an image of several components
)

var uImageTypes = map[byte]string{
	1: "standalone", 2: "kernel", 3: "ramdisk", uImageMulti: "multi", 5: "firmware", 6: "script", 7: "filesystem", 8: "flat_dt",
}

// uImageAt reports whether b begins with a legacy header whose checksum is right.
func uImageAt(b []byte) bool {
	if len(b) < uImageHeader {
		return false
	}
	h := [uImageHeader]byte(b)
	clear(h[4:8])
	return crc32.ChecksumIEEE(h[:]) == binary.BigEndian.Uint32(b[4:])
}

// uImage splits the legacy image at content[at].
func (p *parser) uImage(in *Part, at, end int) (int, error) {
	b := in.content()[at:end]
	size := uint64(binary.BigEndian.Uint32(b[12:]))
	if size > uint64(len(b)-uImageHeader) {
		return 0, p.fail(in, at+12, "uImage of %#x bytes, %#x left: the image is cut off", size, len(b)-uImageHeader)
	}
	c, err := p.add(in, KindUImage, at, at+uImageHeader+int(size))
	if err != nil {
		return 0, err
	}
	c.header = uImageHeader
	name, _, _ := bytes.Cut(b[32:uImageHeader], []byte{0})
	c.Name = printable(string(name))
	kind := b[30]
	if c.Type = uImageTypes[kind]; c.Type == "" {
		c.Type = fmt.Sprintf("type %d", kind)
	}
	c.Detail = fmt.Sprintf("load %#x, entry %#x, os %d, arch %d, compression %d", binary.BigEndian.Uint32(b[16:]),
		binary.BigEndian.Uint32(b[20:]), b[28], b[29], b[31])
	if crc32.ChecksumIEEE(c.Body()) != binary.BigEndian.Uint32(b[24:]) {
		c.problem("checksum of the data is wrong")
	}
	if kind == uImageMulti {
		return at + uImageHeader + int(size), p.inside(c, func() error { return p.components(c) })
	}
	return at + uImageHeader + int(size), nil
}

// components splits a multi-file image: sizes up to a zero, then the components, aligned to four bytes.
func (p *parser) components(c *Part) error {
	var sizes []uint32
	at := c.header
	for {
		if at+4 > len(c.data) {
			return p.fail(c, min(at, len(c.data)), "list of components does not end")
		}
		n := binary.BigEndian.Uint32(c.data[at:])
		at += 4
		if n == 0 {
			break
		}
		if sizes = append(sizes, n); len(sizes) > 64 {
			return p.fail(c, c.header, "more than 64 components")
		}
	}
	for i, n := range sizes {
		if uint64(n) > uint64(len(c.data)-at) {
			return p.fail(c, c.header+4*i, "component %d of %#x bytes, %#x left", i, n, len(c.data)-at)
		}
		part, err := p.add(c, KindUImagePart, at, at+int(n))
		if err != nil {
			return err
		}
		part.Name = fmt.Sprintf("component %d", i)
		at = min((at+int(n)+3)&^3, len(c.data))
	}
	return nil
}
