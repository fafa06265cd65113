package collect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/proto"
)

const (
	efi     = "sys/firmware/efi"
	efivars = efi + "/efivars"
	esrt    = efi + "/esrt/entries"
)

// secureBoot reads the variable SecureBoot (UEFI 2.10, section 3.3): 4 bytes of attributes, as efivarfs has them, then 1
// or 0.
func (d *describer) secureBoot() {
	const name = efivars + "/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	b, err := d.root.read(name, maxText)
	switch {
	case isMissing(err):
		d.missing(keySecureBoot, d.noVariable(name))
	case err != nil:
		d.missing(keySecureBoot, d.root.unavailable(name, err))
	case len(b) == 5 && b[4] == 1:
		d.SecureBoot = "on"
	case len(b) == 5 && b[4] == 0:
		d.SecureBoot = "off"
	default:
		d.missing(keySecureBoot, malformed(d.root, name, "4 bytes of attributes and 0 or 1", b))
	}
}

// noUEFI says so where this machine did not start through UEFI, and returns nil where it did.
func (d *describer) noUEFI() *proto.Unavailable {
	if _, err := d.root.names(efi, 1); !isMissing(err) {
		return nil
	}
	return unavailable(proto.CauseNoSupport, "this machine did not start through UEFI: there is no %s", d.root.show(efi))
}

// noVariable says why an EFI variable does not exist.
func (d *describer) noVariable(name string) *proto.Unavailable {
	if un := d.noUEFI(); un != nil {
		return un
	}
	vars, err := d.root.names(efivars, 1)
	switch {
	case err != nil && !isMissing(err):
		return d.root.unavailable(efivars, err)
	case len(vars) == 0:
		return unavailable(proto.CauseNotFound, "efivarfs is not mounted: mount -t efivarfs efivarfs %s", d.root.show(efivars))
	}
	return unavailable(proto.CauseNotFound, "%s does not exist: the firmware has no Secure Boot", d.root.show(name))
}

// resources reads the EFI System Resource Table: which firmware the machine has in which version.
func (d *describer) resources() {
	entries, err := d.root.names(esrt, 4*maxResources)
	if isMissing(err) {
		un := d.noUEFI()
		if un == nil {
			un = unavailable(proto.CauseNotFound, "the firmware publishes no EFI System Resource Table: there is no %s", d.root.show(esrt))
		}
		d.missing(keyFirmware, un)
		return
	}
	if err != nil {
		d.missing(keyFirmware, d.root.unavailable(esrt, err))
		return
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimPrefix(e, "entry")); err == nil && e == "entry"+strconv.Itoa(n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		if len(d.Firmware) == maxResources {
			d.missing(keyFirmware, unavailable(proto.CauseTooLarge, "over %d entries in %s", maxResources, d.root.show(esrt)))
			return
		}
		d.resource(esrt + "/entry" + strconv.Itoa(n) + "/")
	}
}

// resource reads one entry. An entry that cannot be read whole is left out with its reason.
func (d *describer) resource(dir string) {
	class, ok := d.value(dir+"fw_class", "a GUID", isGUID)
	if !ok {
		return
	}
	isNumber := func(s string) bool { _, err := strconv.ParseUint(s, 10, 32); return err == nil }
	version, ok := d.value(dir+"fw_version", "a number of 32 bits", isNumber)
	if !ok {
		return
	}
	lowest, ok := d.value(dir+"lowest_supported_fw_version", "a number of 32 bits", isNumber)
	if !ok {
		return
	}
	v, _ := strconv.ParseUint(version, 10, 32)
	l, _ := strconv.ParseUint(lowest, 10, 32)
	d.Firmware = append(d.Firmware, proto.FirmwareVersion{Class: strings.ToLower(class), Version: uint32(v), Lowest: uint32(l)})
}

// value reads a one-line file that must hold what.
func (d *describer) value(name, what string, good func(string) bool) (string, bool) {
	b, err := d.root.read(name, maxText)
	if err != nil {
		d.missing(keyFirmware, d.root.unavailable(name, err))
		return "", false
	}
	s := strings.TrimSpace(string(b))
	if !good(s) {
		d.missing(keyFirmware, malformed(d.root, name, what, b))
		return "", false
	}
	return s, true
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (s[i] == '-') || !hyphen && !strings.Contains("0123456789abcdefABCDEF", s[i:i+1]) {
			return false
		}
	}
	return true
}
