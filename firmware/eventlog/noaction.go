package eventlog

import (
	"bytes"
	"fmt"
)

// Signatures of EV_NO_ACTION events, 16 bytes each (PFP section 10.4.5).
var (
	sp800155Signature = []byte("SP800-155 Event")
	hcrtmSignature    = []byte("H-CRTM Event")
)

// describeNoAction decodes events that inform and extend nothing.
func describeNoAction(e *Event) Description {
	switch {
	case isLocality(e) && len(e.Data) == len(localitySignature)+1:
		locality := e.Data[len(localitySignature)]
		return Description{
			Kind: "startup locality", Name: "StartupLocality", Detail: fmt.Sprintf("locality %d", locality),
			Fields: map[string]any{"locality": int(locality)},
		}
	case bytes.HasPrefix(e.Data, sp800155Signature) && len(e.Data) > 16:
		return describeReferenceManifest(e)
	case bytes.HasPrefix(e.Data, hcrtmSignature):
		return Description{Kind: "H-CRTM component", Name: "H-CRTM Event", Detail: textOrHex(e.Data[len(hcrtmSignature):])}
	case bytes.HasPrefix(e.Data, specPrefix):
		return Description{Kind: "log header", Name: "Spec ID Event", Detail: safeText(e.Data[:min(15, len(e.Data))], maxSlot)}
	}
	if _, ok := parseTags(e.Data, maxTags); ok {
		d := describeTag(e)
		d.Detail = "not measured: " + d.Detail
		return d
	}
	return unknown("information", e.Data)
}

// describeReferenceManifest decodes a TCG_Sp800-155-PlatformId_Event and its versions 2 and 3: where the reference
// manifest of the platform's firmware is to be found (PFP section 10.4.5.2). Nothing binds it.
func describeReferenceManifest(e *Event) Description {
	r := reader{b: e.Data[16:]}
	version := e.Data[15]
	vendor, id := r.u32(), r.guid()
	d := Description{Kind: "reference manifest", Name: safeText(e.Data[:16], maxSlot), Fields: map[string]any{
		"vendor_id": vendor, "manifest": id.String(),
	}}
	d.Detail = "manifest " + id.String()
	if version == '2' || version == '3' {
		for _, name := range []string{"platform_manufacturer", "platform_model", "platform_version", "firmware_manufacturer"} {
			d.Fields[name] = textOrHex(r.sized())
		}
		d.Fields["firmware_manufacturer_id"] = r.u32()
		d.Fields["firmware_version"] = textOrHex(r.sized())
		d.Detail = fmt.Sprintf("%v %v, manifest %s", d.Fields["platform_manufacturer"], d.Fields["platform_model"], id)
	}
	if version == '3' {
		addLocator(&r, "manifest_location", d.Fields)
		addLocator(&r, "certificate_location", d.Fields)
	}
	if r.bad {
		d.Fields["problem"] = "the event is cut off"
	}
	return d
}

// addLocator reads a locator: type (0 raw, 1 URI, 2 device path, 3 EFI variable), size, data.
func addLocator(r *reader, name string, fields map[string]any) {
	kind := r.u32()
	data := r.take(uint64(r.u32()))
	switch {
	case r.bad || len(data) == 0:
	case kind == 1:
		fields[name] = safeText(data, maxText)
	case kind == 2:
		fields[name] = parseDevicePath(data).text
	case kind == 3 && len(data) > 16:
		fields[name] = "variable " + safeUTF16(data[16:], maxSlot) + " of " + guid(data[:16]).name()
	default:
		fields[name] = textOrHex(data)
	}
}
