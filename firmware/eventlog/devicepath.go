package eventlog

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// devicePath is a decoded EFI_DEVICE_PATH_PROTOCOL (UEFI 2.10, section 10.3).
type devicePath struct {
	text string // in the form of section 10.6, nodes joined by "/"
	file string // the file paths in it, joined, empty if there are none
}

// parseDevicePath decodes a device path into text. Nodes do not nest: the loop is bounded by maxNodes and by the
// data. What cannot be read ends the text with the reason.
func parseDevicePath(b []byte) devicePath {
	var nodes []string
	var file strings.Builder
	for len(b) > 0 {
		if len(nodes) == maxNodes {
			nodes = append(nodes, "...")
			break
		}
		if len(b) < 4 {
			nodes = append(nodes, "(cut off)")
			break
		}
		kind, size := [2]byte{b[0], b[1]}, int(binary.LittleEndian.Uint16(b[2:]))
		if size < 4 || size > len(b) {
			nodes = append(nodes, fmt.Sprintf("(node of %d bytes, %d left)", size, len(b)))
			break
		}
		data := b[4:size]
		b = b[size:]
		if kind[0] == 0x7f {
			if kind[1] == 0xff { // end of the whole path
				break
			}
			nodes = append(nodes, "(next instance)")
			continue
		}
		text := nodeText(kind, data)
		nodes = append(nodes, text)
		if kind == nodeFilePath && file.Len() < maxText {
			appendFile(&file, text)
		}
	}
	return devicePath{text: strings.Join(nodes, "/"), file: file.String()}
}

// appendFile joins a path that is split over nodes with one backslash between (UEFI 2.10, section 10.3.5.4).
func appendFile(to *strings.Builder, part string) {
	if to.Len() > 0 && !strings.HasSuffix(to.String(), `\`) && !strings.HasPrefix(part, `\`) {
		to.WriteByte('\\')
	}
	to.WriteString(part)
}

var nodeFilePath = [2]byte{4, 4}

// nodeText prints one node by its type and subtype; unknown and short ones as Path(type,subtype,hex).
func nodeText(kind [2]byte, b []byte) string {
	r := reader{b: b}
	var s string
	switch kind[0] {
	case 1:
		s = hardwareNode(kind[1], &r)
	case 2:
		s = acpiNode(kind[1], &r)
	case 3:
		s = messagingNode(kind[1], &r)
	case 4:
		s = mediaNode(kind[1], &r)
	case 5:
		if kind[1] == 1 { // BIOS boot specification: device type, status flag, description
			device, _ := r.u16(), r.u16()
			s = fmt.Sprintf("BBS(%#x,%s)", device, safeText(r.b, maxSlot))
		}
	}
	if s == "" || r.bad {
		return fmt.Sprintf("Path(%d,%d,%s)", kind[0], kind[1], hexText(b))
	}
	return s
}

// hardwareNode prints hardware nodes (section 10.3.2).
func hardwareNode(sub byte, r *reader) string {
	switch sub {
	case 1:
		function, device := r.u8(), r.u8()
		return fmt.Sprintf("Pci(%#x,%#x)", device, function)
	case 3:
		kind, start, end := r.u32(), r.u64(), r.u64()
		return fmt.Sprintf("MemoryMapped(%#x,%#x,%#x)", kind, start, end)
	case 4:
		return "VenHw(" + r.guid().name() + ")"
	case 5:
		return fmt.Sprintf("Ctrl(%#x)", r.u32())
	}
	return ""
}

// ACPI identifiers of PCI host bridges: EISA ids PNP0A03 and PNP0A08.
const (
	acpiPCIRoot  = 0x0a0341d0
	acpiPCIeRoot = 0x0a0841d0
)

// acpiNode prints ACPI nodes (section 10.3.3).
func acpiNode(sub byte, r *reader) string {
	switch sub {
	case 1:
		hid, uid := r.u32(), r.u32()
		switch hid {
		case acpiPCIRoot:
			return fmt.Sprintf("PciRoot(%#x)", uid)
		case acpiPCIeRoot:
			return fmt.Sprintf("PcieRoot(%#x)", uid)
		}
		return fmt.Sprintf("Acpi(%#08x,%#x)", hid, uid)
	case 2:
		hid, uid, cid := r.u32(), r.u32(), r.u32()
		return fmt.Sprintf("AcpiEx(%#08x,%#08x,%#x)", hid, cid, uid)
	case 3:
		return fmt.Sprintf("AcpiAdr(%#x)", r.u32())
	}
	return ""
}

// messagingNode prints messaging nodes (section 10.3.4).
func messagingNode(sub byte, r *reader) string {
	switch sub {
	case 1:
		primary, slave, lun := r.u8(), r.u8(), r.u16()
		return fmt.Sprintf("Ata(%d,%d,%d)", primary, slave, lun)
	case 2:
		target, lun := r.u16(), r.u16()
		return fmt.Sprintf("Scsi(%#x,%#x)", target, lun)
	case 5:
		port, iface := r.u8(), r.u8()
		return fmt.Sprintf("USB(%#x,%#x)", port, iface)
	case 10:
		return "VenMsg(" + r.guid().name() + ")"
	case 11:
		mac, kind := r.take(32), r.u8()
		if kind <= 1 && mac != nil { // Ethernet
			mac = mac[:6]
		}
		return fmt.Sprintf("MAC(%x,%#x)", mac, kind)
	case 12:
		local, remote := r.take(4), r.take(4)
		return fmt.Sprintf("IPv4(%s,%s)", address(remote), address(local))
	case 13:
		local, remote := r.take(16), r.take(16)
		return fmt.Sprintf("IPv6(%s,%s)", address(remote), address(local))
	case 15:
		vendor, product, class := r.u16(), r.u16(), r.u8()
		return fmt.Sprintf("UsbClass(%#x,%#x,%#x)", vendor, product, class)
	case 16:
		iface, vendor, product := r.u16(), r.u16(), r.u16()
		return fmt.Sprintf("UsbWwid(%#x,%#x,%#x,%s)", vendor, product, iface, safeUTF16(r.b, maxSlot))
	case 18:
		port, multiplier, lun := r.u16(), r.u16(), r.u16()
		return fmt.Sprintf("Sata(%#x,%#x,%#x)", port, multiplier, lun)
	case 20:
		return fmt.Sprintf("Vlan(%d)", r.u16())
	case 23:
		namespace, eui := r.u32(), r.take(8)
		return fmt.Sprintf("NVMe(%#x,%s)", namespace, hex.EncodeToString(eui))
	case 24:
		return "Uri(" + safeText(r.b, maxText) + ")"
	case 26:
		return fmt.Sprintf("SD(%d)", r.u8())
	case 29:
		return fmt.Sprintf("eMMC(%d)", r.u8())
	}
	return ""
}

func address(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

// mediaNode prints media nodes (section 10.3.5).
func mediaNode(sub byte, r *reader) string {
	switch sub {
	case 1:
		return hardDriveNode(r)
	case 2:
		entry, start, size := r.u32(), r.u64(), r.u64()
		return fmt.Sprintf("CDROM(%d,%#x,%#x)", entry, start, size)
	case 3:
		return "VenMedia(" + r.guid().name() + ")"
	case 4:
		return safeUTF16(r.b, maxText)
	case 6:
		return "FvFile(" + r.guid().name() + ")"
	case 7:
		return "Fv(" + r.guid().name() + ")"
	case 8:
		_, start, end := r.u32(), r.u64(), r.u64()
		return fmt.Sprintf("Offset(%#x,%#x)", start, end)
	case 9:
		start, end, kind := r.u64(), r.u64(), r.guid()
		return fmt.Sprintf("RamDisk(%#x,%#x,%s)", start, end, kind.name())
	}
	return ""
}

// hardDriveNode prints a partition with its GPT or MBR signature.
func hardDriveNode(r *reader) string {
	number, start, size := r.u32(), r.u64(), r.u64()
	signature := r.guid()
	_, kind := r.u8(), r.u8()
	switch kind {
	case 1:
		return fmt.Sprintf("HD(%d,MBR,%#08x,%#x,%#x)", number, binary.LittleEndian.Uint32(signature[:4]), start, size)
	case 2:
		return fmt.Sprintf("HD(%d,GPT,%s,%#x,%#x)", number, signature, start, size)
	}
	return fmt.Sprintf("HD(%d,%d,,%#x,%#x)", number, kind, start, size)
}
