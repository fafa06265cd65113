package predict

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
)

// commandPCR is where GRUB measures its commands.
const commandPCR = 8

// Objects in a GRUB image (include/grub/kernel.h, OBJ_TYPE_*).
const (
	objectMemoryDisk = 1
	objectConfig     = 2
	objectPrefix     = 3
)

// embeddedConfig is the one built-in configuration that is followed: GRUB goes on with the file in its memory disk.
const embeddedConfig = "normal (memdisk)/grub.cfg"

// grubImage is what a GRUB image holds beside its modules.
type grubImage struct {
	memoryDisk []byte
	config     string
	prefix     string
}

// parseGRUB reads the objects in a GRUB image's section "mods".
func parseGRUB(b []byte) (grubImage, error) {
	var g grubImage
	le := binary.LittleEndian
	if len(b) < 24 || string(b[:4]) != "mimg" {
		return g, errors.New("GRUB's section mods does not begin with mimg")
	}
	offset, size := le.Uint64(b[8:]), le.Uint64(b[16:])
	if le.Uint32(b[4:]) != 0 { // a 32-bit image has no padding before the offset
		offset, size = uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:]))
	}
	if offset > size || size > uint64(len(b)) {
		return g, fmt.Errorf("GRUB's modules from %#x to %#x, the section has %#x bytes", offset, size, len(b))
	}
	b = b[offset:size]
	for n := 0; len(b) > 0; n++ {
		if len(b) < 8 || n == maxObjects {
			return g, fmt.Errorf("object %d of at most %d in the GRUB image: %d bytes left", n, maxObjects, len(b))
		}
		kind, length := le.Uint32(b), le.Uint32(b[4:])
		if length < 8 || uint64(length) > uint64(len(b)) {
			return g, fmt.Errorf("object %d in the GRUB image has %d bytes, want 8 to %d", n, length, len(b))
		}
		content := b[8:length]
		switch kind {
		case objectMemoryDisk:
			g.memoryDisk = content
		case objectConfig:
			g.config = text(content)
		case objectPrefix:
			g.prefix = text(content)
		}
		b = b[length:]
	}
	return g, nil
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.TrimSpace(string(b))
}

// grub lists what GRUB measures: its commands, the files that it reads and the kernel.
func (b *builder) grub(p *program) error {
	kernel := b.chain[len(b.chain)-1]
	d, err := authenticode(kernel.pe)
	if err != nil {
		return err
	}
	records, err := b.followGRUB(p)
	if err != nil {
		b.notPredicted(commandPCR, "GRUB's configuration cannot be followed: %v", err)
		b.notPredicted(linuxPCR, "GRUB's configuration cannot be followed: %v", err)
	}
	for _, r := range records {
		b.add(r)
	}
	b.assume(commandPCR, "nobody edits the entry or opens GRUB's command line")
	b.assume(linuxPCR, "GRUB finds no modules, fonts or environment block on disk")
	b.grubKernel(p, kernel, d)
	return nil
}

// grubKernel lists the measurements of the kernel. shim measures each program that GRUB asks it to verify, and with
// Secure Boot on GRUB asks twice: when it reads the file, and when it loads the kernel. Otherwise it need not ask.
func (b *builder) grubKernel(p, kernel *program, d map[pcr.Algorithm][]byte) {
	const note = "kernel, as GRUB has shim verify it"
	media := bytes.Contains(p.Content, guidInitrdMedia[:])
	optional := b.secure != eventlog.SecureBootOn || b.has(programShim) == nil || media
	b.load(nil, d, optional, note)
	b.load(nil, d, optional, note)
	if media { // such a GRUB may also start the kernel through its EFI stub
		s := start{kernel: kernel.Content, initrd: b.in.Initrd.Content, optional: true}
		s.options = utf16z("BOOT_IMAGE=" + b.cmdline)
		if b.cmdline == "" {
			s.options, s.reason = nil, "GRUB's configuration cannot be followed"
		}
		b.linuxStub(s)
	}
}

// followGRUB runs GRUB's configurations from the built-in one on.
func (b *builder) followGRUB(p *program) ([]record, error) {
	g, err := parseGRUB(p.section("mods"))
	if err != nil {
		return nil, err
	}
	device := cmp.Or(b.in.GRUB.Device, "hd0,gpt1")
	if !strings.HasPrefix(g.prefix, "(") {
		g.prefix = "(" + device + ")" + g.prefix
	}
	s := &script{device: device, variables: map[string]string{"prefix": g.prefix, "root": device}, files: map[string][]byte{}}
	config := b.in.GRUB.Config
	if config.Content == nil {
		return nil, errors.New("it is not given")
	}
	config.Path = s.absolute(cmp.Or(config.Path, g.prefix+"/grub.cfg"))
	for _, f := range []File{config, b.in.Kernel, b.in.Initrd} {
		if f.Content != nil && f.Path != "" {
			s.files[s.absolute(f.Path)] = f.Content
		}
	}
	if p.Path != "" {
		dir, _, _ := cutLast(strings.ReplaceAll(p.Path, `\`, "/"), "/")
		s.variables["cmdpath"] = "(" + device + ")" + dir
	}
	switch g.config {
	case "":
		err = s.source(config.Path)
	case embeddedConfig:
		var first []byte
		if first, err = readFAT(g.memoryDisk, "GRUB    CFG"); err == nil {
			err = s.run(string(first))
		}
	default:
		err = fmt.Errorf("the configuration built into GRUB begins with %.60q", g.config)
	}
	if err != nil && !errors.Is(err, errBooted) {
		return nil, err
	}
	if !errors.Is(err, errBooted) {
		return nil, errors.New("it ends without the command boot")
	}
	if !bytes.Equal(s.kernel, b.in.Kernel.Content) {
		return nil, errors.New("it starts another kernel than the one that is given")
	}
	b.cmdline = s.cmdline
	return s.records, nil
}

// cutLast cuts s at the last separator.
func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return "", s, false
}

// readFAT returns a file in the root folder of a FAT12 or FAT16 file system, by its name as the folder has it ("GRUB
// CFG").
func readFAT(disk []byte, name string) ([]byte, error) {
	le := binary.LittleEndian
	if len(disk) < 512 || len(disk) > maxMemoryDisk || disk[0] != 0xeb && disk[0] != 0xe9 {
		return nil, errors.New("GRUB's memory disk is not FAT")
	}
	sector, perCluster := int(le.Uint16(disk[11:])), int(disk[13])
	tables, entries, perTable := int(disk[16]), int(le.Uint16(disk[17:])), int(le.Uint16(disk[22:]))
	first := int(le.Uint16(disk[14:])) * sector
	root := first + tables*perTable*sector
	data := root + 32*entries
	cluster := perCluster * sector
	if sector < 512 || cluster == 0 || perTable == 0 || data > len(disk) {
		return nil, errors.New("GRUB's memory disk is no FAT12 or FAT16 file system that fits into it")
	}
	wide := (len(disk)-data)/cluster >= 4085
	for e := disk[root:data]; len(e) >= 32 && e[0] != 0; e = e[32:] {
		if string(e[:11]) != name || e[11]&0x18 != 0 {
			continue
		}
		size := int(le.Uint32(e[28:]))
		if size > MaxScript {
			return nil, fmt.Errorf("%s in GRUB's memory disk has %d bytes, want at most %d", name, size, MaxScript)
		}
		var out []byte
		for n := int(le.Uint16(e[26:])); len(out) < size; n = nextCluster(disk[first:root], n, wide) {
			at := data + (n-2)*cluster
			if n < 2 || at+cluster > len(disk) {
				return nil, fmt.Errorf("%s in GRUB's memory disk is cut off", name)
			}
			out = append(out, disk[at:at+cluster]...)
		}
		return out[:size], nil
	}
	return nil, fmt.Errorf("no %s in GRUB's memory disk", name)
}

// nextCluster follows the chain of a file; 0 ends it.
func nextCluster(table []byte, n int, wide bool) int {
	if wide {
		if 2*n+2 > len(table) {
			return 0
		}
		return int(binary.LittleEndian.Uint16(table[2*n:]))
	}
	at := n + n/2
	if at+2 > len(table) {
		return 0
	}
	v := int(binary.LittleEndian.Uint16(table[at:]))
	if n%2 != 0 {
		return v >> 4
	}
	return v & 0xfff
}
