package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// A firmware volume, a file in it and the section in that (UEFI Platform Initialization Specification 1.8, volume 3,
// sections 3.2.1, 3.2.3 and 3.2.5).
const (
	volumeHeaderSize = 72 // at least
	volumeLength     = 32
	volumeSignature  = 40
	volumeHeaderLen  = 48
	signatureFVH     = "_FVH"

	ffsHeaderSize    = 24
	ffsHeaderSum     = 16
	ffsFileSum       = 17
	ffsType          = 18
	ffsAttributes    = 19
	ffsSize          = 20
	ffsState         = 23
	ffsVolumeImage   = 0x0b // type: holds a firmware volume
	ffsHasSum        = 0x40 // attribute: the data has a checksum
	sectionType      = 3
	sectionGUID      = 4
	sectionData      = 20 // where the packed data begins, from the section's start
	sectionGUIDed    = 0x02
	guidSectionSize  = 24
	lzmaHeaderSize   = 13
	lzmaDictionaryAt = 1
	lzmaDictionary   = 1 << 24 // as EDK II's own packer
	maxVolume        = 64 << 20
	maxSectionSpread = 3 // bytes behind the section that fill its file up to a multiple of four
)

// lzmaGUID is EE4E5898-3914-4259-9D6E-DC7BD79403CF: packed by LZMA (EDK II, MdeModulePkg,
// LzmaCustomDecompress).
var lzmaGUID = []byte{0x98, 0x58, 0x4e, 0xee, 0x14, 0x39, 0x59, 0x42, 0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf}

// packedVolume is where the compressed volume is in a firmware image.
type packedVolume struct {
	file, fileSize int // the file that holds it
	size           int // of the section in it
	data           int // of the packed data, from the section's start
}

func (v packedVolume) section() int { return v.file + ffsHeaderSize }
func (v packedVolume) fileEnd() int { return v.file + v.fileSize }

// free counts the bytes of erased flash behind the file.
func (v packedVolume) free(code []byte) int {
	n := 0
	for v.fileEnd()+n < len(code) && code[v.fileEnd()+n] == 0xff {
		n++
	}
	return n
}

// PatchVolume changes a text, as ASCII and as UTF-16, inside the compressed volume of OVMF or AAVMF: it unpacks the
// volume, replaces the text by one of the same length and packs again. The machine boots as before, but measures
// another volume into PCR 0.
func PatchVolume(code []byte, from, to string) ([]byte, error) {
	v, err := findVolume(code)
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	raw, err := unpack(code[v.section()+v.data : v.section()+v.size])
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	raw, narrow, err := replaceText(raw, from, to)
	if err != nil {
		return nil, err
	}
	raw, broad, err := replaceText(raw, wide(from), wide(to))
	if err != nil {
		return nil, err
	}
	if narrow+broad == 0 {
		return nil, fmt.Errorf("patch: %q is not in the firmware", from)
	}
	packed, err := pack(raw)
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	patched := slices.Clone(code)
	if err := v.replace(patched, packed); err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	return patched, nil
}

// findVolume finds the compressed volume. Its GUID stands in the code that unpacks it, too, so headers are checked.
func findVolume(code []byte) (packedVolume, error) {
	for at := 0; ; {
		i := bytes.Index(code[at:], lzmaGUID)
		if i < 0 {
			return packedVolume{}, errors.New("no compressed volume in the firmware")
		}
		at += i + len(lzmaGUID)
		section := at - len(lzmaGUID) - sectionGUID
		file := section - ffsHeaderSize
		if file < 0 || section+guidSectionSize > len(code) || code[section+sectionType] != sectionGUIDed ||
			code[file+ffsType] != ffsVolumeImage {
			continue
		}
		v := packedVolume{
			file: file, fileSize: uint24(code[file+ffsSize:]),
			size: uint24(code[section:]), data: int(le.Uint16(code[section+sectionData:])),
		}
		rest := v.fileSize - ffsHeaderSize - v.size
		switch {
		case v.fileEnd() > len(code) || v.data < guidSectionSize || v.data+lzmaHeaderSize > v.size:
			return v, fmt.Errorf("compressed volume at %#x: sizes %#x, %#x, %#x do not fit", file, v.fileSize, v.size, v.data)
		case rest < 0 || rest > maxSectionSpread:
			return v, fmt.Errorf("compressed volume at %#x: %d bytes besides it in its file", file, rest)
		case code[file+ffsAttributes]&ffsHasSum != 0:
			return v, fmt.Errorf("compressed volume at %#x: its file has a checksum over the data", file)
		}
		return v, nil
	}
}

// volumesEnd returns where the last firmware volume ends. The signature stands in code, too, so headers must sum up to
// zero.
func volumesEnd(code []byte) (int, error) {
	end := 0
	for at := 0; at+volumeHeaderSize <= len(code); {
		i := bytes.Index(code[at:], []byte(signatureFVH))
		if i < 0 {
			break
		}
		at += i
		start := at - volumeSignature
		at += len(signatureFVH)
		if start < end || start+volumeHeaderSize > len(code) {
			continue
		}
		size, header := le.Uint64(code[start+volumeLength:]), int(le.Uint16(code[start+volumeHeaderLen:]))
		if size > uint64(len(code)-start) || header < volumeHeaderSize || header > int(size) {
			continue
		}
		var sum uint16
		for j := start; j+1 < start+header; j += 2 {
			sum += le.Uint16(code[j:])
		}
		if sum == 0 {
			end = start + int(size)
			at = end
		}
	}
	if end == 0 {
		return 0, errors.New("no firmware volume in the image")
	}
	return end, nil
}

// replace puts other packed data into the file, which takes of the free space behind it or gives some back.
func (v packedVolume) replace(code, packed []byte) error {
	size := v.data + len(packed)
	fileSize := ffsHeaderSize + size
	if grow := fileSize - v.fileSize; grow > v.free(code)-minFree {
		return fmt.Errorf("%d more bytes packed, %d free behind the compressed volume", grow, v.free(code))
	}
	copy(code[v.section()+v.data:], packed)
	for i := v.file + fileSize; i < v.fileEnd(); i++ {
		code[i] = 0xff
	}
	putUint24(code[v.section():], size)
	header := code[v.file : v.file+ffsHeaderSize]
	putUint24(header[ffsSize:], fileSize)
	// The header sums up to zero, with its checksums of the file and its state as zero.
	var sum byte
	for i, b := range header {
		if i != ffsHeaderSum && i != ffsFileSum && i != ffsState {
			sum += b
		}
	}
	header[ffsHeaderSum] = -sum
	return nil
}

// unpack unpacks data that EDK II packed, which is in the form of an .lzma file.
func unpack(packed []byte) ([]byte, error) {
	// The reader allocates as much as the header asks for.
	if size := le.Uint32(packed[lzmaDictionaryAt:]); size > maxVolume {
		return nil, fmt.Errorf("compressed volume: dictionary of %d bytes, want at most %d", size, maxVolume)
	}
	r, err := lzma.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("compressed volume: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxVolume+1))
	if err != nil {
		return nil, fmt.Errorf("compressed volume: %w", err)
	}
	if len(raw) > maxVolume {
		return nil, fmt.Errorf("compressed volume: over %d bytes", maxVolume)
	}
	return raw, nil
}

// pack packs a volume. EDK II wants the size in the header.
func pack(raw []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2}, DictCap: lzmaDictionary,
		SizeInHeader: true, Size: int64(len(raw)),
	}.NewWriter(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func putUint24(b []byte, v int) { b[0], b[1], b[2] = byte(v), byte(v>>8), byte(v>>16) }
