package predict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image"
)

// platformKind is how a firmware measures.
type platformKind int

const (
	platformPFP   platformKind = iota // not known; taken for one that keeps to the PFP
	platformEDK2                      // edk2 whose measured volumes are known
	platformUBoot                     // U-Boot with EFI
)

// platform is a recognised firmware.
type platform struct {
	kind    platformKind
	name    string
	version []byte // data of EV_S_CRTM_VERSION; nil: not known
	volumes []volume
}

// volume is a firmware volume that the firmware measures.
type volume struct {
	part   *image.Part
	base   uint64 // address that it is measured at
	moving bool   // the firmware changes it in memory before it measures it
}

// uBootVersion is U-Boot's version string as it is measured (doc/develop/version.rst: name, version, build time).
var uBootVersion = regexp.MustCompile(`U-Boot \d{4}\.\d{2}[ -~]{0,100}? ` +
	`\([A-Z][a-z]{2} \d{2} \d{4} - \d{2}:\d{2}:\d{2} [+-]\d{4}\)[ -~]{0,60}\x00`)

// exitAction is a text in the code of every firmware that measures what PFP section 3.3.4.6 demands.
const exitAction = "Exit Boot Services Invocation"

// firmware recognises the firmware.
func (b *builder) firmware() error {
	if b.in.Firmware == nil {
		b.notPredicted(0, "no firmware image is given")
		return nil
	}
	found := uBootVersion.FindAll(b.in.Firmware, 16)
	if len(found) == 0 {
		return b.edk2()
	}
	if !bytes.Contains(b.in.Firmware, []byte(exitAction)) {
		return inputError("the firmware is %.40q, built without EFI measurements: nothing of it is in a log", found[0])
	}
	b.fw = platform{kind: platformUBoot, name: string(found[0][:len("U-Boot 2023.01")]), version: found[0]}
	for _, other := range found[1:] {
		if !bytes.Equal(other, found[0]) {
			b.fw.version = nil
		}
	}
	return nil
}

// edk2 recognises the two ways in which edk2's builds for virtual machines bring their volumes to memory, by where the
// PEI core lies. Tcg2Pei measures every volume that no measured volume contains.
func (b *builder) edk2() error {
	m, err := image.Parse(b.in.Firmware)
	if err != nil {
		return fmt.Errorf("firmware: %w", err)
	}
	var home, tcg *image.Part // the volumes of the PEI core and of Tcg2Pei
	var siblings, plain []*image.Part
	m.Walk(func(p *image.Part, containers []*image.Part) bool {
		in := innermost(containers, image.KindVolume)
		switch {
		case p.Kind == image.KindVolume && p.Type == "ffs":
			if p.Space == nil {
				plain = append(plain, p)
			}
			siblings = append(siblings, p)
		case p.Kind == image.KindFile && p.Type == "PEI core" && home == nil:
			home = in
		case p.Kind == image.KindFile && p.GUID == guidTcg2Pei:
			tcg = in
			b.fw.version = crtmVersion(p)
		}
		return true
	})
	b.fw.kind, b.fw.name = platformPFP, ""
	switch {
	case home == nil:
		b.fw.version = nil
		b.notPredicted(0, "the firmware image holds no UEFI firmware and no U-Boot that is known")
	case tcg != home:
		b.fw.version = nil
		b.notPredicted(0, "the firmware measures with other modules than edk2's: take its volumes from a log")
	case home.Space == nil:
		b.flashVolume(home, plain)
	default:
		b.unpackedVolumes(home, siblings)
	}
	return nil
}

func innermost(containers []*image.Part, k image.Kind) *image.Part {
	for i := len(containers) - 1; i >= 0; i-- {
		if containers[i].Kind == k {
			return containers[i]
		}
	}
	return nil
}

// flashVolume is for firmware that starts in flash, as AAVMF does: the volume is measured as it is in the image, and
// what is unpacked from it belongs to it.
func (b *builder) flashVolume(home *image.Part, plain []*image.Part) {
	if len(plain) != 1 {
		b.notPredicted(0, "the image has %d volumes beside each other: which of them are measured, a log tells", len(plain))
		return
	}
	base, ok := loadAddress(home)
	if !ok {
		base = uint64(home.Offset)
	}
	b.fw.kind, b.fw.name = platformEDK2, "edk2"
	b.fw.volumes = []volume{{part: home, base: base}}
}

// unpackedVolumes is for firmware whose first phase unpacks all volumes to memory, as OVMF does: one with the PEI
// modules, which change their own data before it is measured, and behind it those of the DXE modules.
func (b *builder) unpackedVolumes(home *image.Part, all []*image.Part) {
	base, ok := loadAddress(home)
	if !ok {
		b.notPredicted(0, "the address of the PEI volume is not in its modules, so that its measurement has no known slot")
		return
	}
	b.fw.kind, b.fw.name = platformEDK2, "edk2 (OVMF)"
	b.fw.volumes = []volume{{part: home, base: base, moving: true}}
	next := base + uint64(home.Length())
	for _, v := range all {
		if v != home && v.Space == home.Space {
			b.fw.volumes = append(b.fw.volumes, volume{part: v, base: next})
			next += uint64(v.Length())
		}
	}
}

// loadAddress tells at which address a volume is at run time, from its modules that run in place: the build fixed their
// addresses. All must agree.
func loadAddress(v *image.Part) (base uint64, ok bool) {
	for _, f := range v.Children {
		if f.Kind != image.KindFile {
			continue
		}
		for _, s := range f.Children {
			b := s.Body()
			at := uint64(s.Offset-v.Offset) + uint64(s.Length()-len(b)) // of the image in the volume
			var address uint64
			switch {
			case s.Type == "te" && len(b) >= 40 && b[0] == 'V' && b[1] == 'Z':
				// The address is that of the headers which the short form leaves out.
				address = binary.LittleEndian.Uint64(b[16:]) - at - 40 + uint64(binary.LittleEndian.Uint16(b[6:]))
			case s.Type == "pe32":
				a, found := imageBase(b)
				if !found {
					continue
				}
				address = a - at
			default:
				continue
			}
			if ok && address != base {
				return 0, false
			}
			base, ok = address, true
		}
	}
	return base, ok && base>>48 == 0
}

// crtmVersion returns what Tcg2Pei measures as the firmware's version: a text of UTF-16 that the build put into the
// module, mostly an empty one. It returns nil if the module holds more than one text.
func crtmVersion(module *image.Part) []byte {
	var code []byte
	for _, s := range module.Children {
		if s.Type == "te" || s.Type == "pe32" {
			code = s.Body()
		}
	}
	if code == nil {
		return nil
	}
	texts := utf16Texts.FindAll(code, 2)
	switch len(texts) {
	case 0:
		return []byte{0, 0}
	case 1:
		return texts[0]
	}
	return nil
}

var utf16Texts = regexp.MustCompile(`(?:[ -~]\x00){4,128}\x00\x00`)

// platform lists what the firmware measures of itself: PCR 0 and the separators of PCRs 2, 3 and 6. Those of PCRs 4, 5
// and 7 stand among other events.
func (b *builder) platform() error {
	version := record{typ: eventlog.SCRTMVersion, data: b.fw.version, note: "version of the firmware"}
	if b.fw.version == nil {
		version.reason = "the image holds several texts that may be its version"
	}
	b.add(version)
	for _, v := range b.fw.volumes {
		b.volume(v)
	}
	b.separator(0)
	for _, i := range []int{2, 3, 6} {
		b.separator(i)
		b.assume(i, "no option ROMs, no drivers from outside the firmware image and no settings of theirs")
	}
	return nil
}

func (b *builder) volume(v volume) {
	data := binary.LittleEndian.AppendUint64(nil, v.base)
	data = binary.LittleEndian.AppendUint64(data, uint64(v.part.Length()))
	r := record{
		typ: eventlog.EFIPlatformFirmwareBlob, data: data, note: v.part.Label(), pattern: "*",
		content: v.part.Bytes(),
	}
	if v.moving {
		r.reason = "its modules keep in it what they find: it depends on the memory's size and on number and model of the CPUs"
	}
	b.add(r)
}

var separator = []byte{0, 0, 0, 0}

func (b *builder) separator(i int) {
	b.add(record{pcr: i, typ: eventlog.Separator, data: separator, note: "end of the firmware's measurements"})
}
