// Package charter is what the owner of a device permits to leave it: a local file that no verifier can change. What it
// does not list stays on the device, and the evidence says so with the cause "not-allowed", for a verifier's policy to
// judge. Without a charter everything may leave that evidence has: measurements and descriptions. The raw content of flash
// memory, which an operator may ask for, is more than that: it leaves only where a charter names it.
//
//	# /etc/probity/charter.yaml
//	allow:
//	  - boot-log
//	  - ima
//	  - flash              # digests, never content
//	  - flash-content.bios # raw bytes of one region; "flash-content" stands for all. Needs flash
//	  - tamper
//	  - platform.model     # one field; "platform" stands for all
//
// PCR values, the quote over them, the boot id and the TPM's identity are what attestation is: who does not want them to
// leave does not run an agent.
package charter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/proto/daemon"
)

// Items that a charter can name, beside "platform." and a field, and "flash-content." and the name of a region.
const (
	bootLog  = "boot-log"
	imaList  = "ima"
	flash    = "flash"
	content  = "flash-content"
	tamper   = "tamper"
	platform = "platform"
)

// reason is what evidence says about what was withheld.
const reason = "the owner's charter keeps it on the device"

// fields are the fields of proto.Platform by the name that a charter gives them.
var fields = map[string]func(*proto.Platform){
	"vendor":           func(p *proto.Platform) { p.Vendor = "" },
	"model":            func(p *proto.Platform) { p.Model = "" },
	"board":            func(p *proto.Platform) { p.Board = "" },
	"firmware-vendor":  func(p *proto.Platform) { p.FirmwareVendor = "" },
	"firmware-version": func(p *proto.Platform) { p.FirmwareVersion = "" },
	"firmware-date":    func(p *proto.Platform) { p.FirmwareDate = "" },
	"architecture":     func(p *proto.Platform) { p.Architecture = "" },
	"kernel":           func(p *proto.Platform) { p.Kernel = "" },
	"command-line":     func(p *proto.Platform) { p.CommandLine = "" },
	"os":               func(p *proto.Platform) { p.OS = "" },
	"secure-boot":      func(p *proto.Platform) { p.SecureBoot = "" },
	"firmware":         func(p *proto.Platform) { p.Firmware = nil },
	"devices":          func(p *proto.Platform) { p.Devices = nil },
}

// Charter says what may leave. A nil Charter allows everything but the raw content of flash memory.
type Charter struct{ allow map[string]bool }

// Items returns every name that a charter may list, apart from those of single flash regions.
func Items() []string {
	out := []string{bootLog, imaList, flash, content, tamper, platform}
	for f := range fields {
		out = append(out, platform+"."+f)
	}
	slices.Sort(out)
	return out
}

// Load reads a charter; with an empty name there is none. Unknown keys and names are errors: a typo must neither let
// something out nor keep it in unnoticed.
func Load(file string) (*Charter, error) {
	if file == "" {
		return nil, nil
	}
	var doc struct {
		Allow []string `koanf:"allow" doc:"what may leave the device"`
	}
	if err := daemon.Load(&doc, daemon.Source{File: file}); err != nil {
		return nil, fmt.Errorf("charter: %w", err)
	}
	if doc.Allow == nil {
		return nil, fmt.Errorf("charter %s: no list \"allow\": write \"allow: []\" if nothing may leave", file)
	}
	known := Items()
	c, raw := &Charter{allow: map[string]bool{}}, false
	for _, item := range doc.Allow {
		region, isRegion := strings.CutPrefix(item, content+".")
		if !slices.Contains(known, item) && (!isRegion || region == "") {
			return nil, fmt.Errorf("charter %s: unknown item %q%s", file, item, daemon.DidYouMean(item, known))
		}
		if c.allow[item] {
			return nil, fmt.Errorf("charter %s: item %q is listed twice", file, item)
		}
		c.allow[item] = true
		raw = raw || isRegion || item == content
	}
	if raw && !c.allow[flash] {
		return nil, fmt.Errorf("charter %s: %s without %s: who may have the bytes may have their digest: list both, or none",
			file, content, flash)
	}
	return c, nil
}

// BootLog returns nil if the boot log may leave.
func (c *Charter) BootLog() *proto.Unavailable { return c.item(bootLog) }

// IMA returns nil if the IMA list may leave.
func (c *Charter) IMA() *proto.Unavailable { return c.item(imaList) }

// Flash returns nil if digests of flash regions, with names and places, may leave.
func (c *Charter) Flash() *proto.Unavailable { return c.item(flash) }

// FlashContent returns nil if the raw bytes of a flash region may leave. Without a charter they may not.
func (c *Charter) FlashContent(region string) *proto.Unavailable {
	if c != nil && (c.allow[content] || c.allow[content+"."+region]) {
		return nil
	}
	return &proto.Unavailable{
		Cause: proto.CauseNotAllowed, Reason: "the owner's charter does not list " + content + " or " + content + "." + region,
	}
}

// Tamper returns nil if the state of tamper lines may leave.
func (c *Charter) Tamper() *proto.Unavailable { return c.item(tamper) }

func (c *Charter) item(name string) *proto.Unavailable {
	if c == nil || c.allow[name] {
		return nil
	}
	return &proto.Unavailable{Cause: proto.CauseNotAllowed, Reason: reason}
}

// Platform returns the part of p that may leave, or why nothing of it may. p itself is not changed.
func (c *Charter) Platform(p proto.Platform) (proto.Platform, *proto.Unavailable) {
	if c == nil || c.allow[platform] {
		return p, nil
	}
	withheld := 0
	unavailable := maps.Clone(p.Unavailable)
	if unavailable == nil {
		unavailable = map[string]string{}
	}
	for name, clearField := range fields {
		if !c.allow[platform+"."+name] {
			clearField(&p)
			unavailable[name] = string(proto.CauseNotAllowed) + ": " + reason
			withheld++
		}
	}
	if withheld == len(fields) {
		return proto.Platform{}, c.item(platform)
	}
	p.Unavailable = unavailable
	return p, nil
}

// String names what may leave.
func (c *Charter) String() string {
	if c == nil {
		return "everything but the raw content of flash memory"
	}
	if len(c.allow) == 0 {
		return "nothing beyond identity, boot id and PCRs"
	}
	return strings.Join(slices.Sorted(maps.Keys(c.allow)), ", ")
}
