package eventlog

import (
	"bytes"
	"strings"
)

// PCRs that boot loaders measure into by convention (UAPI Linux TPM PCR Registry).
const (
	pcrGRUBFiles = 9
	pcrUKI       = 11
	pcrShim      = 14
)

// ipl is the decoded data of an EV_IPL event, which boot loaders use for everything that has no type of its own.
type ipl struct {
	kind     string
	name     string // what was measured, for a slot
	text     string // for people
	measured []byte // the part that a boot loader hashes if that is not all of the data, else nil
}

// grubPrefixes introduce what GRUB measures. Upstream separates with ": " and hashes the rest without NUL, Red Hat's
// 2.02 with a space and hashes the rest with its NUL.
var grubPrefixes = []struct{ name, kind string }{
	{"grub_cmd", "GRUB command"},
	{"kernel_cmdline", "kernel command line"},
	{"module_cmdline", "module command line"},
	{"grub_kernel_cmdline", "kernel command line"},
}

func parseIPL(e *Event) ipl {
	for _, p := range grubPrefixes {
		rest, ok := bytes.CutPrefix(e.Data, []byte(p.name))
		if !ok {
			continue
		}
		if upstream, ok := bytes.CutPrefix(rest, []byte(": ")); ok {
			upstream = bytes.TrimSuffix(upstream, []byte{0})
			return ipl{kind: p.kind, name: p.name, text: safeText(upstream, maxText), measured: upstream}
		}
		if redHat, ok := bytes.CutPrefix(rest, []byte(" ")); ok {
			return ipl{kind: p.kind, name: p.name, text: safeText(redHat, maxText), measured: redHat}
		}
	}
	switch {
	case isUTF16(e.Data):
		return parseStub(e)
	case isASCII(e.Data):
		text := safeText(e.Data, maxText)
		switch e.PCR {
		case pcrShim:
			return ipl{kind: "machine owner keys", name: text, text: text}
		case pcrGRUBFiles:
			return ipl{kind: "file read by the boot loader", name: text, text: text}
		}
		return ipl{kind: "boot loader event", name: text, text: text}
	}
	return ipl{kind: "boot loader event", text: hexText(e.Data)}
}

// parseStub decodes what systemd-boot and systemd-stub measure: sections of a unified kernel image, each twice under
// the same data, its name and then its content; and the kernel command line, where the data is the measured text
// itself.
func parseStub(e *Event) ipl {
	text := safeUTF16(e.Data, maxText)
	if e.PCR == pcrUKI && strings.HasPrefix(text, ".") {
		name := make([]byte, 0, len(e.Data)/2)
		for i := 0; i < len(e.Data); i += 2 {
			name = append(name, e.Data[i])
		}
		return ipl{kind: "systemd-stub section", name: text, text: text, measured: name}
	}
	return ipl{kind: "boot loader text", name: text, text: text}
}

func describeIPL(e *Event) Description {
	i := parseIPL(e)
	d := Description{Kind: i.kind, Name: i.name, Detail: i.text, Fields: map[string]any{"text": i.text}}
	switch i.kind {
	case "systemd-stub section":
		if e.matchesAny() {
			d.Detail = "name of section " + i.name
			d.Name += " (name)"
		} else {
			d.Detail = "content of section " + i.name
		}
	case "boot loader text":
		// Where the data itself was measured, it is content and no name: the kernel's command line.
		if e.matchesAny() {
			d.Kind, d.Name = "kernel command line", "kernel_cmdline"
		}
	}
	return d
}
