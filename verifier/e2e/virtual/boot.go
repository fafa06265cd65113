package virtual

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/ulikunitz/xz/lzma"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Machine returns the machine that runs this product: one that measures as a captured machine did (OVMF, systemd-stub,
// Linux, Secure Boot off), with the product's firmware, kernel and programs in the place of the captured ones. What is
// measured is found here as the programs of such a machine find it, without the packages that predict it.
func (p *Product) Machine(vendor, model string, captured []byte) (Machine, error) {
	volumes, err := unpackVolumes(p.Flash)
	if err != nil {
		return Machine{}, err
	}
	var failed error
	digestOf := func(program []byte) eventlogtest.Measurement {
		parsed, err := pecoff.Parse(program)
		if err != nil {
			failed = err
			return nil
		}
		return parsed.Authenticode
	}
	sections := map[string][]byte{".osrel": p.release, ".cmdline": p.cmdline, ".linux": p.kernel, ".initrd": p.initrd}
	measured := map[string]bool{} // sections whose name was measured: the content follows
	address, programs := uint64(unpackAddress), [][]byte{p.UKI, p.kernel}
	log, err := eventlogtest.Rewrite(captured, func(e *eventlog.Event, data []byte) eventlogtest.Measurement {
		switch {
		case e.Type == eventlog.EFIPlatformFirmwareBlob && len(volumes) > 0:
			v := volumes[0]
			volumes = volumes[1:]
			binary.LittleEndian.PutUint64(data, address)
			binary.LittleEndian.PutUint64(data[8:], uint64(len(v)))
			address += uint64(len(v))
			return eventlogtest.Of(v)
		case e.Type == eventlog.EFIBootServicesApplication && len(programs) > 0:
			program := programs[0]
			programs = programs[1:]
			return digestOf(program)
		case e.PCR == pecoff.StubPCR:
			name := strings.TrimRight(string(bytes.ReplaceAll(data, []byte{0}, nil)), "\x00")
			if !measured[name] {
				measured[name] = true
				return nil
			}
			return eventlogtest.Of(sections[name])
		case e.PCR == 9 && bytes.Contains(data, []byte("LoadOptions")):
			return eventlogtest.Of(wide(string(p.cmdline)))
		case e.PCR == 9 && bytes.Contains(data, []byte("initrd")):
			return eventlogtest.Of(p.initrd)
		}
		return nil
	})
	if err = errors.Join(err, failed); err != nil {
		return Machine{}, err
	}
	if len(volumes)+len(programs) > 0 || len(measured) != len(sections) {
		return Machine{}, fmt.Errorf("the captured machine does not measure all of the product: %d volumes and %d programs are left, sections %v",
			len(volumes), len(programs), slices.Sorted(maps.Keys(measured)))
	}
	list, err := p.runs()
	if err != nil {
		return Machine{}, err
	}
	return Machine{
		Vendor: vendor, Model: model, Firmware: p.Version, Booted: log, IMA: list, CommandLine: string(p.cmdline),
		SecureBootOff: true, Flash: p.Flash,
	}, nil
}

// runs returns the IMA list of a machine that has started every program of the product.
func (p *Product) runs() ([]byte, error) {
	var b ima.Builder
	if err := b.SetBootAggregate(pcr.SHA256, make([]byte, sha256.Size)); err != nil { // Boot makes it fit
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(p.Files)) {
		digest := sha256.Sum256(p.Files[path])
		if err := b.Append(ima.Measurement{Path: path, Algorithm: pcr.SHA256, Digest: digest[:]}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// unpackVolumes does what the first code of an OVMF machine does: it unpacks what follows the LZMA section's header in
// flash, and finds the firmware volumes in it by their signature (UEFI Platform Initialization 1.8, volume 3, section
// 3.2.1).
func unpackVolumes(flash []byte) ([][]byte, error) {
	guid := []byte{0x98, 0x58, 0x4e, 0xee, 0x14, 0x39, 0x59, 0x42, 0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf}
	at := bytes.Index(flash, guid)
	if at < 0 || at+20 > len(flash) {
		return nil, errors.New("the machine does not start: no packed volumes in flash")
	}
	r, err := lzma.NewReader(bytes.NewReader(flash[at+20:]))
	if err != nil {
		return nil, fmt.Errorf("the machine does not start: %w", err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("the machine does not start: %w", err)
	}
	var volumes [][]byte
	for i := 0; i+64 <= len(b); {
		if string(b[i+40:i+44]) != "_FVH" {
			i += 4
			continue
		}
		n := int(binary.LittleEndian.Uint64(b[i+32:]))
		if n <= 0 || n > len(b)-i {
			return nil, fmt.Errorf("the machine does not start: a volume of %d bytes in %d", n, len(b)-i)
		}
		volumes = append(volumes, b[i:i+n])
		i += n
	}
	return volumes, nil
}

// wide returns text as EFI has it: UTF-16 with a NUL.
func wide(text string) []byte {
	var out []byte
	for _, u := range append(utf16.Encode([]rune(text)), 0) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}
