package flash

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// bootID changes with every boot of the kernel, which starts counting writes anew.
const bootID = "/proc/sys/kernel/random/boot_id"

func (m Machine) openBlock(s Source) (Reader, error) {
	t := m.tree()
	f, err := t.open(s.Name, blockDevice)
	if err != nil {
		return nil, err
	}
	r, err := newBlockReader(t, s, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func newBlockReader(t tree, s Source, f *os.File) (Reader, error) {
	// Seeking tells the size on every machine; the ioctl for it has other numbers on 32-bit ones.
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	major, minor, ok := deviceNumber(info)
	if !ok {
		return nil, errNotBlock
	}
	r := &fileReader{file: f, chip: Chip{Kind: Block, Device: s.Name, Size: uint64(size)}}
	// Without sysfs a device can be read all the same; only what sysfs tells is unknown.
	dir, err := t.files().Resolve(fmt.Sprintf("sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return r, nil
	}
	readOnly, err := t.read(path.Join(dir, "ro"))
	r.chip.ReadOnly = err == nil && readOnly == "1"
	disk := dir
	if _, err := t.read(path.Join(dir, "partition")); err == nil {
		// A write to the whole disk counts only there, even where it hits the partition.
		disk, r.chip.Partition = path.Dir(dir), true
	}
	r.generation = func() (string, bool) { return diskGeneration(t, disk) }
	return r, nil
}

// diskGeneration is made of this boot, the disk's sequence number, and how often it was written and discarded. What
// still waits in the page cache to be written changes it only once it is written. Disks made of others (loop, dm, md)
// have none: writes to what lies below them are not counted.
func diskGeneration(t tree, disk string) (string, bool) {
	if strings.Contains("/"+disk, "/devices/virtual/") {
		return "", false
	}
	// Counting can be switched off.
	if counts, err := t.read(path.Join(disk, "queue/iostats")); err != nil || counts != "1" {
		return "", false
	}
	boot, err := tree("/").read(bootID)
	if err != nil {
		return "", false
	}
	stat, err := t.read(path.Join(disk, "stat"))
	// Fields of Documentation/block/stat.rst: 5 write I/Os, 7 sectors written; from Linux 4.18: 12 discard I/Os, 14
	// sectors.
	fields := strings.Fields(stat)
	if err != nil || len(fields) < 7 {
		return "", false
	}
	counters := []string{fields[4], fields[6]}
	if len(fields) >= 14 {
		counters = append(counters, fields[11], fields[13])
	}
	sequence, err := t.read(path.Join(disk, "diskseq")) // from Linux 5.15
	if err != nil {
		sequence = "-"
	}
	return fmt.Sprintf("block:%s:%s:%s:%s", boot, path.Base(disk), sequence, strings.Join(counters, ".")), true
}
