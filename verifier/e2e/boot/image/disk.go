package image

import (
	"fmt"
	"hash/crc32"
	"unicode/utf16"
)

// Layout of a disk (UEFI Specification 2.10, section 5.3).
const (
	sectorSize     = 512
	firstSector    = 2048 // of the partition: on 1 MiB
	gptEntries     = 128
	gptEntrySize   = 128
	gptHeaderSize  = 92
	gptSectors     = gptEntries * gptEntrySize / sectorSize // of the table of partitions
	gptRevision    = 0x00010000
	firstUsable    = 2 + gptSectors
	protectiveMBR  = 0xee
	partitionTable = 446 // in the MBR
)

// Identifiers of a disk. Firmware measures the partition table into PCR 5, so they are the same for every disk.
var (
	// espType is C12A7328-F81F-11D2-BA4B-00A0C93EC93B, an EFI system partition.
	espType = [16]byte{
		0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
	}
	diskID      = [16]byte([]byte("probity-disk-001"))
	partitionID = [16]byte([]byte("probity-part-001"))
)

// Disk builds a disk with a GUID partition table and one partition, an EFI system partition with these files. Their
// names are paths with slashes; folders are made.
func Disk(files map[string][]byte) ([]byte, error) {
	volume, err := newVolume(files)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	partition := volume.sectors()
	total := firstSector + partition + gptSectors + 1
	disk := make([]byte, total*sectorSize)
	volume.write(disk[firstSector*sectorSize : (firstSector+partition)*sectorSize])
	writeMBR(disk, total)

	entries := make([]byte, gptEntries*gptEntrySize)
	copy(entries, espType[:])
	copy(entries[16:], partitionID[:])
	le.PutUint64(entries[32:], firstSector)
	le.PutUint64(entries[40:], uint64(firstSector+partition-1))
	for i, c := range utf16.Encode([]rune("ESP")) {
		le.PutUint16(entries[56+2*i:], c)
	}
	last, backup := total-1, total-1-gptSectors
	copy(disk[sectorSize:], gptHeader(1, last, 2, total, entries))
	copy(disk[2*sectorSize:], entries)
	copy(disk[backup*sectorSize:], entries)
	copy(disk[last*sectorSize:], gptHeader(last, 1, backup, total, entries))
	return disk, nil
}

// writeMBR writes the master boot record that keeps old programs off the disk (section 5.2.3).
func writeMBR(disk []byte, total int) {
	e := disk[partitionTable:]
	copy(e, []byte{0, 0x00, 0x02, 0x00, protectiveMBR, 0xff, 0xff, 0xff})
	le.PutUint32(e[8:], 1)
	le.PutUint32(e[12:], uint32(total-1))
	disk[510], disk[511] = 0x55, 0xaa
}

// gptHeader is the header in sector self, for the table of partitions at sector table. The other header is at sector
// other.
func gptHeader(self, other, table, total int, entries []byte) []byte {
	h := make([]byte, gptHeaderSize)
	copy(h, "EFI PART")
	le.PutUint32(h[8:], gptRevision)
	le.PutUint32(h[12:], gptHeaderSize)
	le.PutUint64(h[24:], uint64(self))
	le.PutUint64(h[32:], uint64(other))
	le.PutUint64(h[40:], firstUsable)
	le.PutUint64(h[48:], uint64(total-firstUsable))
	copy(h[56:], diskID[:])
	le.PutUint64(h[72:], uint64(table))
	le.PutUint32(h[80:], gptEntries)
	le.PutUint32(h[84:], gptEntrySize)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h)) // over the header with this field as zero
	return h
}
