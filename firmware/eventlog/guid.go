package eventlog

import (
	"encoding/binary"
	"fmt"
)

// guid is an EFI_GUID: the first three fields are little-endian (UEFI 2.10, appendix A).
type guid [16]byte

func (g guid) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[0:]), binary.LittleEndian.Uint16(g[4:]),
		binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:16])
}

// makeGUID builds a guid of its textual fields.
func makeGUID(a uint32, b, c uint16, d uint16, e uint64) (g guid) {
	binary.LittleEndian.PutUint32(g[0:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	binary.BigEndian.PutUint16(g[8:], d)
	var tail [8]byte
	binary.BigEndian.PutUint64(tail[:], e)
	copy(g[10:], tail[2:])
	return g
}

// GUIDs that decide how data is read (UEFI 2.10, sections 3.3 and 32.4.1; shim's MokVars.txt; Linux' LINUX_EFI_*).
var (
	guidGlobalVariable = makeGUID(0x8be4df61, 0x93ca, 0x11d2, 0xaa0d, 0x00e098032b8c)
	guidImageSecurity  = makeGUID(0xd719b2cb, 0x3d3a, 0x4596, 0xa3bc, 0xdad00e67656f)
	guidShim           = makeGUID(0x605dab50, 0xe046, 0x4300, 0xabb6, 0x3dd810dd8b23)

	guidCertX509       = makeGUID(0xa5c059a1, 0x94e4, 0x4aa7, 0x87b5, 0xab155c2bf072)
	guidCertSHA256     = makeGUID(0xc1c41626, 0x504c, 0x4092, 0xaca9, 0x41f936934328)
	guidCertX509SHA256 = makeGUID(0x3bd2a492, 0x96c0, 0x4079, 0xb420, 0xfcf98ef103ed)
	guidCertX509SHA384 = makeGUID(0x7076876e, 0x80c2, 0x4ee6, 0xaad2, 0x28b349a6865b)
	guidCertX509SHA512 = makeGUID(0x446dbf63, 0x2502, 0x4cda, 0xbcfa, 0x2465d2b0fe9d)
	guidCertSHA1       = makeGUID(0x826ca512, 0xcf10, 0x4ac9, 0xb187, 0xbe01496631bd)
	guidCertSHA384     = makeGUID(0xff3e5307, 0x9fd0, 0x48c9, 0x85f1, 0x8ad56c701e01)
	guidCertSHA512     = makeGUID(0x093e0fae, 0xa6c4, 0x4f50, 0x9f1b, 0xd41e2b89c19a)
	guidCertRSA2048    = makeGUID(0x3c5766e8, 0x269c, 0x4e34, 0xaa14, 0xed776e85b3b6)
)

// guidNames names what people meet in logs.
var guidNames = map[guid]string{
	guidGlobalVariable: "EFI global variable",
	guidImageSecurity:  "EFI image security database",
	guidShim:           "shim",

	makeGUID(0x77fa9abd, 0x0359, 0x4d32, 0xbd60, 0x28f4e78f784b): "Microsoft",

	makeGUID(0xeb9d2d31, 0x2d88, 0x11d3, 0x9a16, 0x0090273fc14d): "SMBIOS",
	makeGUID(0xf2fd1544, 0x9794, 0x4a2c, 0x992e, 0xe5bbcf20e394): "SMBIOS 3",
	makeGUID(0xeb9d2d30, 0x2d88, 0x11d3, 0x9a16, 0x0090273fc14d): "ACPI 1.0",
	makeGUID(0x8868e871, 0xe4f1, 0x11d3, 0xbc22, 0x0080c73c8881): "ACPI 2.0",

	makeGUID(0xc12a7328, 0xf81f, 0x11d2, 0xba4b, 0x00a0c93ec93b): "EFI system partition",
	makeGUID(0x0fc63daf, 0x8483, 0x4772, 0x8e79, 0x3d69d8477de4): "Linux filesystem",
	makeGUID(0xe3c9e316, 0x0b5c, 0x4db8, 0x817d, 0xf92df00215ae): "Microsoft reserved",
	makeGUID(0xebd0a0a2, 0xb9e5, 0x4433, 0x87c0, 0x68b6b72699c7): "Microsoft basic data",

	makeGUID(0x5568e427, 0x68fc, 0x4f3d, 0xac74, 0xca555231cc68): "Linux initrd media",
	makeGUID(0x55c5d1f8, 0x04cd, 0x46b5, 0x8a20, 0xe56cbb3052d0): "systemd-stub payload",
	makeGUID(0x1428f772, 0xb64a, 0x441e, 0xb8c3, 0x9ebdd7f893c7): "QEMU kernel loader",
}

// name returns the known name of g, else its textual form.
func (g guid) name() string {
	if s, ok := guidNames[g]; ok {
		return s
	}
	return g.String()
}
