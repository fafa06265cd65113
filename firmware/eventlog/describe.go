package eventlog

import "fmt"

// Description is an event decoded for people. Its strings are printable, without control, escape or bidirectional
// characters, and bounded. It describes claims: whether the data is bound to the digest, DataMatches says.
type Description struct {
	// Kind is what sort of thing was measured: "EFI variable", "boot application", "GRUB command", "separator", ...
	Kind string `json:"kind"`
	// Name is which one: the variable's name, the file's path, the section's name; empty where there is only one.
	Name string `json:"name,omitempty"`
	// Detail is the content in a line, as far as the data tells it.
	Detail string `json:"detail,omitempty"`
	// Fields are the decoded parts: strings, booleans, integers, lists of strings, maps and lists of maps of these.
	Fields map[string]any `json:"fields,omitempty"`
}

// String returns kind and name, such as "boot application \\EFI\\BOOT\\BOOTX64.EFI".
func (d Description) String() string {
	if d.Name == "" {
		return d.Kind
	}
	return d.Kind + " " + d.Name
}

// unknown describes data that does not have the form it should have.
func unknown(kind string, data []byte) Description {
	return Description{Kind: kind, Detail: hexText(data), Fields: map[string]any{"problem": "data has no form that is known"}}
}

// hexNumber prints addresses as people read them and JSON numbers cannot hold them.
func hexNumber(n uint64) string { return fmt.Sprintf("%#x", n) }

// Describe decodes the event for people. It never fails: data without a known form is printed in hexadecimal.
func (e *Event) Describe() Description {
	switch e.Type {
	case NoAction:
		return describeNoAction(e)
	case Separator:
		return describeSeparator(e)
	case EFIVariableDriverConfig, EFIVariableBoot, EFIVariableBoot2, EFIVariableAuthority, EFISPDMDevicePolicy:
		return describeVariable(e)
	case EFISPDMDeviceAuthority:
		return describeVariable(e)
	case EFIBootServicesApplication, EFIBootServicesDriver, EFIRuntimeServicesDriver:
		return describeImage(e)
	case EFIGPTEvent, EFIGPTEvent2:
		return describeGPT(e)
	case IPL:
		return describeIPL(e)
	case EventTag:
		return describeTag(e)
	case EFIPlatformFirmwareBlob, EFIPlatformFirmwareBlob2:
		return describeBlob(e, "firmware volume")
	case PostCode, PostCode2:
		return describeBlob(e, "firmware code")
	case EFIHandoffTables, EFIHandoffTables2:
		return describeTables(e)
	case SCRTMVersion:
		return describeVersion(e)
	case EFIHCRTMEvent:
		return describeText(e, "hardware root of trust")
	}
	return describeText(e, textKind(e.Type))
}

// textKind names the types whose data is at best a text.
func textKind(t EventType) string {
	switch t {
	case Action, EFIAction:
		return "action"
	case SCRTMContents:
		return "root of trust"
	case CPUMicrocode:
		return "microcode"
	case PlatformConfigFlags:
		return "platform configuration"
	case TableOfDevices:
		return "device table"
	case CompactHash:
		return "compact hash"
	case NonhostCode, NonhostConfig, NonhostInfo:
		return "non-host platform"
	case OmitBootDevice:
		return "omitted boot device"
	case IPLPartitionData:
		return "partition data"
	case EFISPDMFirmwareBlob, EFISPDMFirmwareConfig:
		return "device firmware"
	}
	return "event"
}

// Slot returns a short, stable identity of which thing the event measured, without its content: the type's name and
// the name of the variable, file, section or table. Two boots of one system have the same slots in the same order, so
// that slots pair what is expected with what is observed. It is built from claims and safe to print.
func (e *Event) Slot() string {
	name := e.slotName()
	if name == "" {
		return e.Type.String()
	}
	return e.Type.String() + " " + cut(name, maxSlot)
}

// slotName returns the part of the slot after the type.
func (e *Event) slotName() string {
	switch e.Type {
	case Separator, EFIGPTEvent, EFIGPTEvent2, SCRTMVersion:
		return "" // the disk and the version are content
	case EFIVariableDriverConfig, EFIVariableBoot, EFIVariableBoot2, EFIVariableAuthority:
		if v, ok := parseVariable(e.Data); ok { // without decoding certificates
			return v.safeName()
		}
		return ""
	}
	return e.Describe().Name
}

// cut shortens a printable text to at most max bytes, at a character's end.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	end := max
	for end > 0 && s[end]&0xc0 == 0x80 {
		end--
	}
	return s[:end] + "..."
}
