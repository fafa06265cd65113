package pecoff

import "encoding/binary"

var machines = map[uint16]string{
	0x014c: "x86", 0x8664: "x64", 0x01c0: "arm", 0x01c2: "arm", 0x01c4: "arm", 0xaa64: "arm64", 0x0200: "ia64", 0x0ebc: "ebc",
	0x5032: "riscv32", 0x5064: "riscv64", 0x6264: "loongarch64",
}

var subsystems = map[uint16]string{
	10: "application", 11: "boot driver", 12: "runtime driver", 13: "rom", 16: "boot application",
}

// Describe names machine and subsystem for people, such as "x64 boot driver".
func Describe(machine, subsystem uint16) string {
	m, s := machines[machine], subsystems[subsystem]
	if m == "" {
		m = "unknown machine"
	}
	if s == "" {
		s = "program"
	}
	return m + " " + s
}

// Terse reads the header of a Terse Executable, the short form of an image that runs from flash (UEFI Platform
// Initialization 1.8, volume 1, section 15). ok is false if b is none.
func Terse(b []byte) (machine, subsystem uint16, ok bool) {
	if len(b) < 40 || b[0] != 'V' || b[1] != 'Z' {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint16(b[2:]), uint16(b[5]), true
}
