package eventlog

// describeImage decodes a UEFI_IMAGE_LOAD_EVENT (PFP section 10.2.3): where in memory an EFI program was loaded and
// from which device. Its digest is the program's Authenticode digest, not a hash of this data.
func describeImage(e *Event) Description {
	kind := map[EventType]string{
		EFIBootServicesApplication: "boot application",
		EFIBootServicesDriver:      "boot driver",
		EFIRuntimeServicesDriver:   "runtime driver",
	}[e.Type]
	r := reader{b: e.Data}
	base, size, link, pathSize := r.u64(), r.u64(), r.u64(), r.u64()
	data := r.take(pathSize)
	if r.bad {
		return unknown(kind, e.Data)
	}
	path := parseDevicePath(data)
	d := Description{Kind: kind, Name: path.file, Detail: path.text, Fields: map[string]any{
		"base": hexNumber(base), "size": size, "link_time_address": hexNumber(link),
	}}
	if len(r.b) > 0 {
		d.Fields["trailing_bytes"] = len(r.b)
	}
	switch {
	case path.text == "":
		d.Detail = "loaded from memory"
	case path.file == "":
		d.Name = path.text
	}
	if path.text != "" {
		d.Fields["device_path"] = path.text
	}
	return d
}
