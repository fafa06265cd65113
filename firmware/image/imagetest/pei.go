package imagetest

import (
	"encoding/binary"
	"fmt"

	"github.com/probity-attest/probity/firmware/image"
)

// Types of the first phase's files and sections (UEFI Platform Initialization 1.8, volume 3, sections 2.1.4 and 2.1.5).
const (
	FilePEICore = 0x04
	FilePEIM    = 0x06
	SectionTE   = 0x12
)

// Files of edk2's first phase.
var (
	PEIVolume = GUID("6938079b-b503-4e3d-9d24-b28337a25806")
	PEICore   = GUID("52c05b14-0b98-496c-bc3b-04b50211d680")
	Tcg2Pei   = GUID("a0c98b77-cba5-4bb8-993b-4af6ce33ece4") // the module that measures firmware volumes
)

// PEIModules builds the volume of the first phase as OVMF has it: the PEI core and the module that measures, linked to run
// in place when the volume lies at address. version is the text in that module's code that it measures as the firmware's
// version, of UTF-16, empty for none.
func PEIModules(address uint64, version string) ([]byte, error) {
	build := func(core, measure uint64) ([]byte, error) {
		return Volume(PEIVolume, 4*blockSize,
			File(PEICore, FilePEICore, Section(SectionTE, terse(core, "core")...)),
			File(Tcg2Pei, FilePEIM, Section(SectionTE, terse(measure, "measure"+version)...)))
	}
	draft, err := build(0, 0) // to learn where the modules lie
	if err != nil {
		return nil, err
	}
	m, err := image.Parse(draft)
	if err != nil {
		return nil, fmt.Errorf("volume of the first phase: %w", err)
	}
	var linked []uint64
	for _, s := range m.Find(image.KindSection) {
		if s.Type == "te" {
			linked = append(linked, address+uint64(s.Offset+s.Length()-len(s.Body()))+terseHeader-terseLeftOut)
		}
	}
	if len(linked) != 2 {
		return nil, fmt.Errorf("volume of the first phase: %d programs, want 2", len(linked))
	}
	return build(linked[0], linked[1])
}

// The short form of a program's header, and how much of the headers it leaves out.
const (
	terseHeader  = 40
	terseLeftOut = 0x188
)

// terse builds a program in the short form (UEFI Platform Initialization 1.8, volume 1, section 15), linked to an address.
func terse(address uint64, code string) []byte {
	b := make([]byte, terseHeader, terseHeader+len(code))
	copy(b, "VZ\x64\x86\x01\x0b")
	binary.LittleEndian.PutUint16(b[6:], terseLeftOut)
	binary.LittleEndian.PutUint64(b[16:], address)
	return append(b, code...)
}
