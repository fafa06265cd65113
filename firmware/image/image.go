// Package image splits firmware images into their parts: what a vendor ships and what a flash chip holds, down to the
// single module of a UEFI firmware or the kernel in a U-Boot image. Parse gives a tree of Parts, Diff compares two of
// them and names what was changed, added and removed.
//
// It recognises the regions of an Intel flash descriptor, UEFI firmware volumes with their files and sections (also
// packed by LZMA, LZMA with x86 filter, Tiano, the UEFI compression and Brotli), NVRAM variable stores, Intel
// microcode, PCI option ROMs, EFI programs, devicetree blobs, U-Boot FIT and legacy images. What it does not know it
// keeps as data, and erased flash as padding: the parts of the whole image and of a region leave out no byte.
//
// Digests are those of the bytes as firmware measures them: OVMF measures firmware volumes after unpacking, so the
// digest of a volume in a compressed section is that of the unpacked one. EFI programs are measured by their
// Authenticode digest; package pecoff computes it of a Part's Body.
//
// Images are foreign bytes. Parse is strict: a structure that overruns the one that holds it is an error with its
// offset, unless Config.Lenient asks to keep the rest. Wrong checksums and hashes are no error, because vendors ship
// them, but stand as Problem at their part. Work and memory are bounded: see limits.go.
//
// The package walks images itself: linuxboot/fiano, the library for this, unpacks without any limit, keeps the erase
// polarity of one image in global variables, and unpacks LZMA only.
//
// Sources: UEFI Platform Initialization 1.8 (PI), volume 3, sections 2 and 3; UEFI 2.10, sections 2 and 14.4; U-Boot,
// doc/usage/fit and include/image.h; Intel SPI flash descriptor as in "Intel 100 Series PCH SPI Programming Guide";
// Intel SDM, volume 3A, section 10.11 (microcode).
package image

import (
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Kind is what a part is.
type Kind string

// Kinds of parts.
const (
	KindImage         Kind = "image"             // the whole
	KindRegion        Kind = "region"            // of an Intel flash descriptor
	KindVolume        Kind = "volume"            // UEFI firmware volume
	KindFile          Kind = "file"              // of a volume: a module, if it holds a program
	KindSection       Kind = "section"           // of a file
	KindNVRAM         Kind = "variable store"    // of UEFI variables
	KindVariable      Kind = "variable"          // in a variable store
	KindMicrocode     Kind = "microcode"         // of Intel processors
	KindOptionROM     Kind = "option ROM"        // PCI expansion ROM image
	KindProgram       Kind = "program"           // EFI program, PE/COFF
	KindProgramPart   Kind = "program section"   // section of an EFI program
	KindFIT           Kind = "FIT"               // U-Boot FIT image
	KindFITImage      Kind = "FIT image"         // one image in a FIT
	KindConfiguration Kind = "FIT configuration" // which images of a FIT boot together
	KindDeviceTree    Kind = "devicetree"        // blob that is no FIT
	KindUImage        Kind = "uImage"            // legacy U-Boot image
	KindUImagePart    Kind = "uImage component"  // of a multi-file uImage
	KindData          Kind = "data"              // of no known form
	KindPadding       Kind = "padding"           // one byte repeated, as erased flash
)

// Part is a range of bytes that means something.
type Part struct {
	Kind Kind
	// Type tells more within a kind, such as "driver" for a file or "lzma" for a section.
	Type string
	// GUID names volumes, files and variables; the zero GUID where there is none.
	GUID GUID
	// Name is what people call the part: a module's user interface name, else the known name of its GUID, a region's or
	// FIT image's name. It may be empty.
	Name string
	// Offset is where the part begins: in the image, or in the unpacked data of Space.
	Offset int
	// Space is the compressed part in whose unpacked data this part lies, nil if it lies in the image itself.
	Space *Part
	// Detail describes the part: processor of a program, dependency expression, load address.
	Detail string
	// Problem tells what is wrong with the part, such as a checksum, "" if nothing is.
	Problem string
	// Children are parts of this part in the order of their offsets. They do not overlap.
	Children []*Part

	data     []byte // all bytes, header included
	header   int    // bytes before the body
	unpacked []byte // of a compressed part
	depth    int
}

// Length returns the part's size in bytes, with its header and as packed as it stands in its space.
func (p *Part) Length() int { return len(p.data) }

// Bytes returns all bytes of the part. They are the image's own memory: do not change them.
func (p *Part) Bytes() []byte { return p.data }

// Body returns the part without its header, as packed as it stands.
func (p *Part) Body() []byte { return p.data[p.header:] }

// Unpacked returns what a compressed part holds; ok is false if the part is not compressed.
func (p *Part) Unpacked() (b []byte, ok bool) { return p.unpacked, p.unpacked != nil }

// Digest returns the digest of all bytes of the part, for a firmware volume the one that firmware measures. It panics
// for an algorithm that pcr cannot compute.
func (p *Part) Digest(a pcr.Algorithm) []byte {
	h := a.New()
	h.Write(p.data)
	return h.Sum(nil)
}

// Label names the part in one line: "driver Shell 7c04a583-...".
func (p *Part) Label() string {
	s := string(p.Kind)
	switch {
	case p.Kind == KindFile && p.Type != "":
		s = p.Type
	case p.Kind == KindSection:
		s = p.Type + " section"
	}
	if p.Name != "" {
		s += " " + p.Name
	}
	if !p.GUID.IsZero() {
		s += " " + p.GUID.String()
	}
	return s
}

// Place tells where the part is: "0x84000" or, in unpacked data, "0x120 of the unpacked lzma section at 0x84078".
func (p *Part) Place() string { return place(p.Offset, p.Space) }

func place(offset int, space *Part) string {
	if space == nil {
		return fmt.Sprintf("%#x", offset)
	}
	return fmt.Sprintf("%#x of the unpacked %s section at %s", offset, space.Type, space.Place())
}

// Image is a split image. It shares memory with the bytes that it was parsed from; do not change them.
type Image struct {
	// Root is the whole image.
	Root *Part
	// Unpacked is how many bytes the compressed parts unpacked to.
	Unpacked int
	// Parts is how many parts there are.
	Parts int
}

// Walk calls f for every part, a part before its children, in the order of offsets, with its containers from the
// outside in. It does not go into the children of a part for which f returns false.
func (m *Image) Walk(f func(p *Part, containers []*Part) bool) { walk(m.Root, nil, f) }

func walk(p *Part, containers []*Part, f func(*Part, []*Part) bool) {
	if !f(p, containers) {
		return
	}
	inside := append(containers[:len(containers):len(containers)], p)
	for _, c := range p.Children {
		walk(c, inside, f)
	}
}

// Find returns all parts of a kind, in the order of Walk.
func (m *Image) Find(k Kind) []*Part {
	var out []*Part
	m.Walk(func(p *Part, _ []*Part) bool {
		if p.Kind == k {
			out = append(out, p)
		}
		return true
	})
	return out
}

// Problems returns all parts with a Problem, in the order of Walk.
func (m *Image) Problems() []*Part {
	var out []*Part
	m.Walk(func(p *Part, _ []*Part) bool {
		if p.Problem != "" {
			out = append(out, p)
		}
		return true
	})
	return out
}
