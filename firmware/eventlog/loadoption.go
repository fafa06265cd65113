package eventlog

// Attributes of a load option (UEFI 2.10, section 3.1.3).
const (
	loadOptionActive = 0x1
	loadOptionHidden = 0x8
)

// describeLoadOption decodes an EFI_LOAD_OPTION: attributes, length of the device paths, description, device paths, and
// data for the program.
func describeLoadOption(b []byte, fields map[string]any) string {
	r := reader{b: b}
	attributes, pathSize := r.u32(), uint64(r.u16())
	end := -1
	for i := 0; i+1 < len(r.b); i += 2 {
		if r.b[i] == 0 && r.b[i+1] == 0 {
			end = i
			break
		}
	}
	if r.bad || end < 0 {
		fields["problem"] = "load option is cut off"
		return hexText(b)
	}
	title := safeUTF16(r.take(uint64(end)), maxText)
	r.take(2)
	path := parseDevicePath(r.take(pathSize))
	fields["title"] = title
	fields["active"] = attributes&loadOptionActive != 0
	if attributes&loadOptionHidden != 0 {
		fields["hidden"] = true
	}
	if r.bad {
		fields["problem"] = "device path is cut off"
		return title
	}
	fields["device_path"] = path.text
	if len(r.b) > 0 {
		fields["optional_data"] = textOrHex(r.b)
	}
	if path.text == "" {
		return title
	}
	return title + ": " + path.text
}
