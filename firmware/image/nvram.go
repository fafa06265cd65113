package image

import "encoding/binary"

// Headers of what an NVRAM volume holds (edk2, MdeModulePkg/Include/Guid/VariableFormat.h, FaultTolerantWrite.h).
var (
	guidVariables     = mustGUID("ddcf3616-3275-4164-98b6-fe85707ffe7d")
	guidAuthVariables = mustGUID("aaf32c78-947b-439a-a180-2e144ec37792")
	guidWriteBlock    = mustGUID("9e58292b-7c68-497d-a0ce-6500fd9f1b95")
)

// Sizes and offsets in a variable store and its variables.
const (
	storeHeader      = 28
	variableStart    = 0x55aa // first field of every variable
	variableAdded    = 0x3f   // state: valid
	variableReplaced = 0x3e   // state: valid until its successor is written
)

// stores splits the content of an NVRAM volume from start on: a variable store and the spare space around it.
func (p *parser) stores(v *Part, start int) error {
	b := v.data[start:]
	if len(b) < storeHeader {
		return p.gap(v, start, len(v.data))
	}
	var kind GUID
	copy(kind[:], b)
	if kind != guidVariables && kind != guidAuthVariables {
		return p.gap(v, start, len(v.data))
	}
	size := binary.LittleEndian.Uint32(b[16:])
	if size < storeHeader || uint64(size) > uint64(len(b)) {
		return p.fail(v, start+16, "variable store of %#x bytes, want %#x to %#x", size, storeHeader, len(b))
	}
	s, err := p.add(v, KindNVRAM, start, start+int(size))
	if err != nil {
		return err
	}
	s.GUID, s.Name, s.header = kind, knownName(kind), storeHeader
	if err := p.inside(s, func() error { return p.variables(s, kind == guidAuthVariables) }); err != nil {
		return err
	}
	return p.spare(v, start+int(size))
}

// spare keeps what is behind the variable store: the working and the spare block of fault tolerant writing.
func (p *parser) spare(v *Part, start int) error {
	for at := start; at+16 <= len(v.data); at += 4096 - at%4096 {
		var g GUID
		copy(g[:], v.data[at:])
		if g != guidWriteBlock {
			continue
		}
		if err := p.gap(v, start, at); err != nil {
			return err
		}
		n := min(4096, len(v.data)-at)
		w, err := p.add(v, KindData, at, at+n)
		if err != nil {
			return err
		}
		w.GUID, w.Name, w.Type = g, knownName(g), "nvram"
		start = at + n
		break
	}
	return p.gap(v, start, len(v.data))
}

// variables splits a variable store.
func (p *parser) variables(s *Part, authenticated bool) error {
	header, sizes := 32, 8
	if authenticated { // monotonic count, time stamp and key index stand between
		header, sizes = 60, 36
	}
	at := s.header
	for at+header <= len(s.data) && binary.LittleEndian.Uint16(s.data[at:]) == variableStart {
		h := s.data[at:]
		name, data := binary.LittleEndian.Uint32(h[sizes:]), binary.LittleEndian.Uint32(h[sizes+4:])
		total := uint64(header) + uint64(name) + uint64(data)
		if total > uint64(len(h)) {
			return p.fail(s, at+sizes, "variable of %#x bytes, %#x left in the store", total, len(h))
		}
		v, err := p.add(s, KindVariable, at, at+int(total))
		if err != nil {
			return err
		}
		copy(v.GUID[:], h[sizes+8:])
		v.header = header + int(name)
		v.Name = ucs2(h[header:v.header])
		if state := h[2]; state != variableAdded && state != variableReplaced {
			v.Type = "deleted"
		}
		at = min((at+int(total)+3)&^3, len(s.data))
	}
	return p.gap(s, at, len(s.data))
}
