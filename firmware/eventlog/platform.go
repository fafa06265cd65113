package eventlog

import (
	"fmt"
	"strings"
)

// describeBlob decodes where measured firmware lies: a UEFI_PLATFORM_FIRMWARE_BLOB, or with a description in front a
// UEFI_PLATFORM_FIRMWARE_BLOB2 (PFP section 10.2.4). EV_POST_CODE events have this form or are a text.
func describeBlob(e *Event, kind string) Description {
	r := reader{b: e.Data}
	var label string
	if e.Type == EFIPlatformFirmwareBlob2 || e.Type == PostCode2 || e.Type == EFISPDMFirmwareBlob {
		label = textOrHex(r.sized())
	} else if len(e.Data) != 16 {
		if text, ok := anyText(e.Data, maxText); ok {
			return Description{Kind: kind, Name: text, Detail: text}
		}
	}
	base, size := r.u64(), r.u64()
	if r.bad || len(r.b) != 0 {
		return unknown(kind, e.Data)
	}
	d := Description{
		Kind: kind, Name: label, Detail: fmt.Sprintf("%d bytes at %#x", size, base),
		Fields: map[string]any{"base": hexNumber(base), "size": size},
	}
	if label == "" {
		d.Name = hexNumber(base)
	} else {
		d.Fields["description"] = label
	}
	return d
}

// describeTables decodes a UEFI_HANDOFF_TABLE_POINTERS, or with a description in front a
// UEFI_HANDOFF_TABLE_POINTERS2 (PFP section 10.2.4): which configuration tables (ACPI, SMBIOS) were measured.
func describeTables(e *Event) Description {
	const kind = "configuration tables"
	r := reader{b: e.Data}
	var label string
	if e.Type == EFIHandoffTables2 {
		label = textOrHex(r.sized())
	}
	count := r.u64()
	if r.bad {
		return unknown(kind, e.Data)
	}
	var names []string
	var list []map[string]any
	for i := uint64(0); i < count && i < maxListed && !r.bad; i++ {
		table := r.guid()
		if r.bad {
			break
		}
		item := map[string]any{"table": table.name(), "guid": table.String()}
		// U-Boot writes the table where the specification has its address.
		if len(r.b) >= 8 && uint64(len(r.b)) <= 24*count {
			item["address"] = hexNumber(r.u64())
		} else {
			item["content"] = hexText(r.b)
			r.b = nil
		}
		names = append(names, table.name())
		list = append(list, item)
	}
	d := Description{Kind: kind, Name: strings.Join(names, ", "), Detail: strings.Join(names, ", "), Fields: map[string]any{"tables": list}}
	if label != "" {
		d.Name = label
		d.Fields["description"] = label
	}
	return d
}

// describeVersion decodes EV_S_CRTM_VERSION: a version as text, or a GUID (PFP section 10.4.1).
func describeVersion(e *Event) Description {
	d := Description{Kind: "firmware version", Detail: textOrHex(e.Data)}
	if _, ok := anyText(e.Data, maxText); !ok && len(e.Data) == 16 {
		d.Detail = guid(e.Data).String()
	}
	if strings.Trim(string(e.Data), "\x00") == "" {
		d.Detail = "empty"
	}
	d.Fields = map[string]any{"version": d.Detail}
	return d
}

// describeSeparator decodes EV_SEPARATOR. Windows closes its PCRs with a separator of its own text.
func describeSeparator(e *Event) Description {
	d := Description{Kind: "separator", Fields: map[string]any{"value": hexText(e.Data)}}
	switch string(e.Data) {
	case string(separatorZeros), string(separatorOnes):
		d.Detail = "end of the firmware's measurements"
	case string(separatorError):
		d.Detail = "the firmware reports an error"
	default:
		d.Detail = textOrHex(e.Data)
	}
	return d
}

// describeText decodes types whose data is a text, or else has no form that the specification gives. A text names the
// event.
func describeText(e *Event, kind string) Description {
	d := Description{Kind: kind, Detail: textOrHex(e.Data)}
	if text, ok := anyText(e.Data, maxText); ok {
		d.Name = text
	}
	return d
}
