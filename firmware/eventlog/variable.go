package eventlog

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// variable is a UEFI_VARIABLE_DATA (PFP section 10.2.6), the data of EV_EFI_VARIABLE_* events.
type variable struct {
	guid  guid
	name  []byte // UTF-16LE, not terminated
	data  []byte
	extra int // bytes after data: not of the structure
}

func parseVariable(b []byte) (variable, bool) {
	r := reader{b: b}
	v := variable{guid: r.guid()}
	units, size := r.u64(), r.u64()
	if units > maxVariableName {
		return variable{}, false
	}
	v.name = r.take(2 * units)
	v.data = r.take(size)
	v.extra = len(r.b)
	return v, !r.bad
}

// rawName returns the name as it is, for comparison.
func (v variable) rawName() string {
	units := make([]uint16, len(v.name)/2)
	for i := range units {
		units[i] = uint16(v.name[2*i]) | uint16(v.name[2*i+1])<<8
	}
	return string(utf16.Decode(units))
}

// safeName returns the name for people.
func (v variable) safeName() string { return safeUTF16(v.name, maxSlot) }

// describeVariable decodes an event of the three EV_EFI_VARIABLE_ families.
func describeVariable(e *Event) Description {
	v, ok := parseVariable(e.Data)
	if !ok {
		return unknown("EFI variable", e.Data)
	}
	d := Description{Kind: "EFI variable", Name: v.safeName(), Fields: map[string]any{
		"guid": v.guid.String(), "namespace": v.guid.name(), "size": len(v.data),
	}}
	if v.extra > 0 {
		d.Fields["trailing_bytes"] = v.extra
	}
	name := v.rawName()
	switch {
	case e.Type == EFIVariableAuthority:
		d.Kind = "Secure Boot authority"
		d.Detail = describeAuthority(v, d.Fields)
	case len(v.data) == 0 && !isSignatureDatabase(name):
		d.Detail = "not set"
	case v.guid == guidGlobalVariable && isSwitch(name) && len(v.data) == 1:
		d.Fields["enabled"] = v.data[0] == 1
		d.Detail = onOff(v.data[0])
	case isSignatureDatabase(name):
		d.Kind = "Secure Boot database"
		d.Detail = describeDatabase(v.data, d.Fields)
	case name == "BootOrder" || name == "BootNext" || name == "DriverOrder":
		d.Kind = "boot order"
		d.Detail = describeOrder(v.data, d.Fields)
	case isLoadOptionName(name):
		d.Kind = "boot entry"
		d.Detail = describeLoadOption(v.data, d.Fields)
	default:
		d.Detail = textOrHex(v.data)
	}
	return d
}

// isSwitch reports whether the variable is a BOOLEAN of UEFI 2.10, section 3.3.
func isSwitch(name string) bool {
	switch name {
	case "SecureBoot", "SetupMode", "AuditMode", "DeployedMode", "VendorKeys":
		return true
	}
	return false
}

func onOff(b byte) string {
	switch b {
	case 0:
		return "off"
	case 1:
		return "on"
	}
	return fmt.Sprintf("invalid value %#02x", b)
}

// isSignatureDatabase reports whether the variable holds EFI_SIGNATURE_LISTs (UEFI 2.10, section 32.4.1).
func isSignatureDatabase(name string) bool {
	switch strings.TrimSuffix(name, "Default") {
	case "PK", "KEK", "db", "dbx", "dbt", "dbr":
		return true
	}
	return false
}

// isLoadOptionName reports whether the variable is a Boot####, Driver#### or the like (UEFI 2.10, section 3.1.1).
func isLoadOptionName(name string) bool {
	for _, prefix := range []string{"Boot", "Driver", "SysPrep", "PlatformRecovery"} {
		number, ok := strings.CutPrefix(name, prefix)
		if ok && len(number) == 4 && strings.Trim(number, "0123456789abcdefABCDEF") == "" {
			return true
		}
	}
	return false
}

// describeOrder decodes a list of 16-bit numbers of load options.
func describeOrder(b []byte, fields map[string]any) string {
	r := reader{b: b}
	var out []string
	for len(r.b) >= 2 && len(out) < maxListed {
		out = append(out, fmt.Sprintf("%04X", r.u16()))
	}
	fields["order"] = out
	return strings.Join(out, ", ")
}
