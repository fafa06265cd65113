package imagetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/ulikunitz/xz/lzma"

	"github.com/probity-attest/probity/firmware/image"
)

// GUIDs of the firmware that Firmware builds: the volumes as in OVMF.
var (
	MainVolume = GUID("48db5e17-707c-472d-91cd-1613e7ef51b0")
	DXEVolume  = GUID("7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1")
	lzmaGUID   = GUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf")
	mainFile   = GUID("9e21fd93-9c72-4c15-8c4b-e77f1db2d792")
	globals    = GUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
)

// Pack packs data as edk2's LZMA tool does: with the unpacked size in the header.
func Pack(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2}, DictCap: 1 << 23, SizeInHeader: true, Size: int64(len(data)),
	}.NewWriter(&b)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return b.Bytes(), nil
}

// LZMASection builds a section that holds other sections, packed.
func LZMASection(sections ...[]byte) ([]byte, error) {
	packed, err := Pack(Join(sections...))
	if err != nil {
		return nil, err
	}
	return GUIDedSection(lzmaGUID, packed), nil
}

// Config says what Firmware builds. The zero Config gives a firmware of 256 KiB with a dozen modules.
type Config struct {
	// Size of the flash in bytes, a multiple of 64 KiB: 256 KiB if 0.
	Size int
	// Modules is how many drivers there are: 12 if 0.
	Modules int
	// ModuleSize is the size in bytes of a driver: 2 KiB if 0.
	ModuleSize int
	// Seed changes the drivers' code.
	Seed uint64
	// Address is where the firmware unpacks its volumes in memory, when it has a first phase that measures them: a
	// volume of the first phase is then packed beside the one with the drivers. 0: there is none.
	Address uint64
}

// Firmware builds the flash of a machine as OVMF has it: a volume with UEFI variables, then a volume whose one file
// holds, packed by LZMA, the volume with the drivers; the rest is erased. The drivers are named Driver00, Driver01 and
// so on.
func Firmware(c Config) ([]byte, error) {
	if c.Size == 0 {
		c.Size = 256 << 10
	}
	if c.Modules == 0 {
		c.Modules = 12
	}
	if c.ModuleSize == 0 {
		c.ModuleSize = 2 << 10
	}
	r := rand.New(rand.NewPCG(c.Seed, 1))
	files := make([][]byte, c.Modules)
	for i := range files {
		files[i] = Module(ModuleGUID(i), fmt.Sprintf("Driver%02d", i), Program(0x8664, 11, code(r, c.ModuleSize)))
	}
	inner := 2*c.Modules*(c.ModuleSize+1024) + 16*blockSize // room for implants
	dxe, err := Volume(DXEVolume, (inner+blockSize-1)/blockSize*blockSize, files...)
	if err != nil {
		return nil, err
	}
	volumes := [][]byte{Section(SectionVolume, dxe...)}
	if c.Address != 0 {
		pei, err := PEIModules(c.Address, "")
		if err != nil {
			return nil, err
		}
		volumes = [][]byte{Section(SectionVolume, pei...), volumes[0]}
	}
	packed, err := LZMASection(volumes...)
	if err != nil {
		return nil, err
	}
	nvram, err := NVRAM(16*blockSize, Variable{globals, "BootOrder", []byte{0, 0}}, Variable{globals, "Lang", []byte("eng")})
	if err != nil {
		return nil, err
	}
	room := c.Size - len(nvram) - 4*blockSize
	if c.Size%(16*blockSize) != 0 || room < blockSize {
		return nil, fmt.Errorf("firmware of %d bytes, want a multiple of 64 KiB and at least 128 KiB", c.Size)
	}
	main, err := Volume(MainVolume, room, File(mainFile, FileVolume, packed))
	if err != nil {
		return nil, err
	}
	return append(append(nvram, main...), bytes.Repeat([]byte{0xff}, 4*blockSize)...), nil
}

// ModuleGUID returns the GUID of the driver with this number.
func ModuleGUID(i int) image.GUID {
	return GUID(fmt.Sprintf("%08x-5b1d-4c4e-9a37-70726f626974", 0xd0000000+i))
}

// code returns bytes that pack about as well as machine code does.
func code(r *rand.Rand, n int) []byte {
	words := make([][]byte, 64)
	for i := range words {
		words[i] = binary.LittleEndian.AppendUint32(nil, r.Uint32())
	}
	var b []byte
	for len(b) < n {
		if b = append(b, words[r.IntN(len(words))]...); r.IntN(3) == 0 {
			b = append(b, byte(r.Uint32()))
		}
	}
	return b[:n]
}
