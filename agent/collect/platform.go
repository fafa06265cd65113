package collect

import (
	"bytes"
	"strings"

	"github.com/probity-attest/probity/proto"
)

// What proto.Platform.Unavailable is keyed by.
const (
	keyIdentity    = "identity"     // vendor and model
	keySecureBoot  = "secure-boot"  // Secure Boot state
	keyFirmware    = "firmware"     // EFI System Resource Table
	keyKernel      = "kernel"       // kernel version
	keyCommandLine = "command-line" // kernel command line
	keyOS          = "os"           // operating system
	keyDevices     = "devices"      // hardware inventory
)

// Platform describes the machine within the limits of proto.Platform. What could not be read is in Unavailable, by
// "identity", "secure-boot", "firmware", "kernel", "command-line", "os" and "devices". Serial numbers are not read.
func (c *Collector) Platform() proto.Platform {
	d := describer{root: c.root}
	d.identity()
	d.secureBoot()
	d.resources()
	d.kernel()
	d.operatingSystem()
	d.devices()
	d.fit()
	return d.Platform
}

// describer fills in a Platform.
type describer struct {
	proto.Platform
	root   root
	left   int    // devices that are left out
	unread string // why others are not known
}

// missing notes why something is not there; the first reason stays.
func (d *describer) missing(key string, un *proto.Unavailable) {
	if d.Unavailable == nil {
		d.Unavailable = map[string]string{}
	}
	if _, ok := d.Unavailable[key]; !ok {
		d.Unavailable[key] = clean([]byte(un.Error()), proto.MaxReason)
	}
}

// text reads a small text file. Where it exists and cannot be read, or need is true, the reason is noted.
func (d *describer) text(key, name string, limit int, need bool) string {
	b, err := d.root.read(name, maxText)
	if err != nil {
		if need || !isMissing(err) {
			d.missing(key, d.root.unavailable(name, err))
		}
		return ""
	}
	return clean(b, limit)
}

const (
	dmi        = "sys/class/dmi/id"
	devicetree = "sys/firmware/devicetree/base"
)

// identity reads SMBIOS tables as the kernel shows them, and for what they don't tell the devicetree.
func (d *describer) identity() {
	for _, f := range []struct {
		name string
		to   *string
	}{
		{"sys_vendor", &d.Vendor},
		{"product_name", &d.Model},
		{"board_name", &d.Board},
		{"bios_vendor", &d.FirmwareVendor},
		{"bios_version", &d.FirmwareVersion},
		{"bios_date", &d.FirmwareDate},
	} {
		*f.to = d.text(keyIdentity, dmi+"/"+f.name, proto.MaxText, false)
	}
	// A list of NUL-terminated "vendor,model", the most specific first (Devicetree Specification 0.4, section 2.3.1).
	compatible, _, _ := strings.Cut(d.property("compatible"), "\x00")
	vendor, board, _ := strings.Cut(compatible, ",")
	fill(&d.Vendor, vendor)
	fill(&d.Board, board)
	fill(&d.Model, d.property("model"))
	if v := d.property("chosen/u-boot,version"); v != "" {
		fill(&d.FirmwareVendor, "U-Boot")
		fill(&d.FirmwareVersion, v)
	}
	if d.Vendor == "" && d.Model == "" {
		d.missing(keyIdentity, unavailable(proto.CauseNotFound, "neither %s (SMBIOS) nor %s (devicetree) names vendor or model",
			d.root.show(dmi), d.root.show(devicetree)))
	}
}

// property reads a devicetree property, NULs between strings included.
func (d *describer) property(name string) string {
	b, err := d.root.read(devicetree+"/"+name, maxText)
	if err != nil && !isMissing(err) {
		d.missing(keyIdentity, d.root.unavailable(devicetree+"/"+name, err))
	}
	return string(bytes.TrimRight(b, "\x00"))
}

// fill sets a text that is not set yet.
func fill(to *string, s string) {
	if *to == "" {
		*to = clean([]byte(s), proto.MaxText)
	}
}

// kernel reads what runs.
func (d *describer) kernel() {
	release, machine := uname()
	d.Architecture = clean([]byte(machine), proto.MaxText)
	d.Kernel = d.text(keyKernel, "proc/version", proto.MaxText, release == "")
	fill(&d.Kernel, release)
	d.CommandLine = d.text(keyCommandLine, "proc/cmdline", maxCommandLine, true)
}

// operatingSystem reads PRETTY_NAME of os-release(5).
func (d *describer) operatingSystem() {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		b, err := d.root.read(name, maxText)
		if isMissing(err) {
			continue
		}
		if err != nil {
			d.missing(keyOS, d.root.unavailable(name, err))
			return
		}
		for line := range bytes.Lines(b) {
			if v, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("PRETTY_NAME=")); ok {
				d.OS = clean([]byte(unquote(string(v))), proto.MaxText)
			}
		}
		if d.OS == "" {
			d.missing(keyOS, unavailable(proto.CauseMalformed, "%s has no PRETTY_NAME", d.root.show(name)))
		}
		return
	}
	d.missing(keyOS, unavailable(proto.CauseNotFound, "no etc/os-release or usr/lib/os-release in %s", d.root.show("")))
}

// unquote undoes the shell quoting that os-release(5) allows.
func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '"' && s[0] != '\'' {
		return s
	}
	double, s := s[0] == '"', s[1:len(s)-1]
	if !double {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"$\\`", s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// malformed says what was expected of a file.
func malformed(r root, name, want string, got []byte) *proto.Unavailable {
	return unavailable(proto.CauseMalformed, "%s: want %s, got %q", r.show(name), want, clean(got, 64))
}
