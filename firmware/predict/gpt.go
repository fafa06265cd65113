package predict

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/probity-attest/probity/firmware/eventlog"
)

// partitionPCR is where firmware measures the partition table (PFP section 3.3.4.6).
const partitionPCR = 5

// Sizes of a GUID partition table (UEFI 2.10, section 5.3).
const (
	gptHeader = 92
	gptEntry  = 128
)

// partitionTable lists the event of the boot disk's partition table.
func (b *builder) partitionTable() error {
	r := record{
		pcr: partitionPCR, typ: eventlog.EFIGPTEvent, data: make([]byte, 8+gptHeader), note: "partition table of the boot disk",
	}
	if b.in.Disk == nil {
		r.reason = "no disk is given"
		r.optional = true // a disk may have another kind of table
		b.add(r)
		return nil
	}
	data, err := readPartitions(b.in.Disk)
	if err != nil {
		return err
	}
	r.data = data
	b.add(r)
	return nil
}

// readPartitions reads a disk's primary partition table and returns the UEFI_GPT_DATA that firmware measures of it (PFP
// section 10.2.5): the header and the used entries.
func readPartitions(disk io.ReaderAt) ([]byte, error) {
	var header [gptHeader]byte
	sector := int64(512)
	for ; sector <= 4096; sector *= 8 {
		if err := readAt(disk, header[:], sector); err != nil {
			return nil, err
		}
		if string(header[:8]) == "EFI PART" {
			break
		}
	}
	le := binary.LittleEndian
	if sector > 4096 {
		return nil, inputError("the disk has no GUID partition table in its second sector of 512 or 4096 bytes")
	}
	sum := le.Uint32(header[16:])
	unsummed := header
	le.PutUint32(unsummed[16:], 0)
	if crc32.ChecksumIEEE(unsummed[:]) != sum {
		return nil, inputError("the partition table's header has a wrong checksum")
	}
	start, count, size := le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	if start > 1<<40 || count > MaxPartitions || size != gptEntry {
		return nil, inputError("partition table of %d entries of %d bytes at sector %d: want at most %d of %d", count, size, start,
			MaxPartitions, gptEntry)
	}
	entries := make([]byte, count*gptEntry)
	if err := readAt(disk, entries, int64(start)*sector); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(header[88:]) {
		return nil, inputError("the partition table's entries have a wrong checksum")
	}
	used := 0
	out := le.AppendUint64(header[:], 0)
	for ; len(entries) > 0; entries = entries[gptEntry:] {
		if [16]byte(entries) != [16]byte{} { // no type: not used
			out = append(out, entries[:gptEntry]...)
			used++
		}
	}
	le.PutUint64(out[gptHeader:], uint64(used))
	return out, nil
}

func readAt(disk io.ReaderAt, b []byte, at int64) error {
	if n, err := disk.ReadAt(b, at); err != nil && (!errors.Is(err, io.EOF) || n < len(b)) {
		return inputError("read the partition table at byte %#x of the disk: %w", at, err)
	}
	return nil
}
