package image

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// A folder's entry (Microsoft FAT32 File System Specification, "FAT Directory Structure" and "Long Directory Entries").
const (
	entrySize  = 32
	attrVolume = 0x08
	attrFolder = 0x10
	attrFile   = 0x20
	attrLong   = 0x0f
	lowerName  = 0x08 // the short name is shown in lower case
	lowerExt   = 0x10
	lastLong   = 0x40
	fixedDate  = 1 | 1<<5 // 1 January 1980, the first day that there is
	longUnits  = 13       // UTF-16 units of a name in one entry
	maxName    = 255
)

// entry is an entry with a short name of eleven characters.
func entry(short string, attributes byte, cluster int, size uint32) []byte {
	e := make([]byte, entrySize)
	copy(e, short)
	e[11] = attributes
	for _, at := range []int{16, 18, 24} { // made, read, written
		le.PutUint16(e[at:], fixedDate)
	}
	putCluster(e, cluster)
	le.PutUint32(e[28:], size)
	return e
}

func putCluster(e []byte, cluster int) {
	le.PutUint16(e[20:], uint16(cluster>>16))
	le.PutUint16(e[26:], uint16(cluster))
}

// nameEntries returns the entries of a file's name: one if the name is a short one in a single case, otherwise long
// ones before it, with a short name made of the file's number in its folder.
func nameEntries(name string, number int) ([]byte, error) {
	if len(name) > maxName || strings.ContainsAny(name, "\\:*?\"<>|\x00") || strings.HasSuffix(name, ".") ||
		strings.TrimSpace(name) != name || !isASCII(name) {
		return nil, fmt.Errorf("file name %q: FAT does not allow it", name)
	}
	base, ext, _ := strings.Cut(name, ".")
	if isShort(base, 8) && isShort(ext, 3) && base != "" && strings.Count(name, ".") <= 1 {
		e := entry(fmt.Sprintf("%-8s%-3s", strings.ToUpper(base), strings.ToUpper(ext)), attrFile, 0, 0)
		if base != strings.ToUpper(base) {
			e[12] |= lowerName
		}
		if ext != strings.ToUpper(ext) {
			e[12] |= lowerExt
		}
		return e, nil
	}
	short := fmt.Sprintf("F%06d~   ", number)
	units := utf16.Encode([]rune(name))
	var entries []byte
	for last, i := (len(units)-1)/longUnits, 0; i <= last; i++ {
		at := last - i // the end of the name comes first
		e := longEntry(units[at*longUnits:], checksum(short))
		e[0] = byte(at + 1)
		if i == 0 {
			e[0] |= lastLong
		}
		entries = append(entries, e...)
	}
	return append(entries, entry(short, attrFile, 0, 0)...), nil
}

// longEntry holds up to 13 units of a name.
func longEntry(units []uint16, sum byte) []byte {
	e := make([]byte, entrySize)
	e[11], e[13] = attrLong, sum
	places := []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
	for i, at := range places {
		unit := uint16(0xffff)
		switch {
		case i < len(units):
			unit = units[i]
		case i == len(units):
			unit = 0
		}
		le.PutUint16(e[at:], unit)
	}
	return e
}

// checksum ties long entries to the short name behind them.
func checksum(short string) byte {
	var sum byte
	for i := range len(short) {
		sum = sum<<7 | sum>>1
		sum += short[i]
	}
	return sum
}

// isShort tells whether a part of a name is allowed in a short one and of one case.
func isShort(part string, size int) bool {
	if len(part) > size || part != strings.ToUpper(part) && part != strings.ToLower(part) {
		return false
	}
	return !strings.ContainsFunc(part, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_' || r == '-')
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
