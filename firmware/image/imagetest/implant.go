package imagetest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/firmware/image"
)

// AddModule returns a copy of a firmware volume to which a driver was added, as a vendor's build or an implant would:
// in the free space behind the last file. It fails if that is too small.
func AddModule(volume []byte, g image.GUID, name string, payload []byte) ([]byte, error) {
	m, err := image.Parse(volume)
	if err != nil {
		return nil, fmt.Errorf("add module: %w", err)
	}
	if len(m.Root.Children) != 1 || m.Root.Children[0].Kind != image.KindVolume {
		return nil, errors.New("add module: want the bytes of exactly one firmware volume")
	}
	files := m.Root.Children[0].Children
	if len(files) == 0 || !free(files[len(files)-1]) {
		return nil, errors.New("add module: the volume has no free space behind its last file")
	}
	space := files[len(files)-1]
	f := Module(g, name, payload)
	at := (space.Offset + 7) &^ 7
	if at+len(f) > len(volume) {
		return nil, fmt.Errorf("add module: %d bytes, the volume has %d free", len(f), len(volume)-at)
	}
	out := bytes.Clone(volume)
	copy(out[at:], f)
	return out, nil
}

// free tells erased space from a pad file, which has a header.
func free(p *image.Part) bool { return p.Kind == image.KindPadding && len(p.Body()) == p.Length() }

// Implant returns a copy of a whole image in which a driver was added to the volume of this name. The volume may be
// packed in an LZMA section: then it is packed again, and the file around it grows into the free space behind it.
func Implant(firmware []byte, volume image.GUID, g image.GUID, name string, payload []byte) ([]byte, error) {
	m, err := image.Parse(firmware)
	if err != nil {
		return nil, fmt.Errorf("implant: %w", err)
	}
	var target *image.Part
	var path []*image.Part
	m.Walk(func(p *image.Part, containers []*image.Part) bool {
		if target == nil && p.Kind == image.KindVolume && p.GUID == volume {
			target, path = p, containers
		}
		return target == nil
	})
	if target == nil {
		return nil, fmt.Errorf("implant: no firmware volume %s in the image", volume)
	}
	changed, err := AddModule(target.Bytes(), g, name, payload)
	if err != nil {
		return nil, fmt.Errorf("implant: %w", err)
	}
	out := bytes.Clone(firmware)
	if target.Space == nil {
		copy(out[target.Offset:], changed)
		return out, nil
	}
	if err := repack(out, target, changed, path); err != nil {
		return nil, fmt.Errorf("implant: %w", err)
	}
	return out, nil
}

// repack writes a changed volume into the packed section that holds it.
func repack(out []byte, target *image.Part, changed []byte, path []*image.Part) error {
	section := target.Space
	if section.Type != "lzma" || section.Space != nil {
		return fmt.Errorf("the volume is packed in a %s section at %s, want an lzma section in the image itself",
			section.Type, section.Place())
	}
	var file, outer *image.Part
	for i, p := range path {
		if p == section && i >= 2 {
			outer, file = path[i-2], path[i-1]
		}
	}
	if file == nil || file.Kind != image.KindFile || outer.Kind != image.KindVolume || len(file.Children) != 1 {
		return errors.New("the packed section is not the only section of a file")
	}
	last := outer.Children[len(outer.Children)-1]
	room := file.Length()
	if free(last) && len(outer.Children) >= 2 && outer.Children[len(outer.Children)-2] == file {
		room = outer.Offset + outer.Length() - file.Offset
	}
	unpacked, _ := section.Unpacked()
	unpacked = bytes.Clone(unpacked)
	copy(unpacked[target.Offset:], changed)
	packed, err := Pack(unpacked)
	if err != nil {
		return err
	}
	b := File(file.GUID, FileVolume, GUIDedSection(section.GUID, packed))
	if len(b) > room {
		return fmt.Errorf("packed again, the file has %d bytes, %d fit", len(b), room)
	}
	n := copy(out[file.Offset:], b)
	for i := file.Offset + n; i < file.Offset+max(file.Length(), n); i++ {
		out[i] = 0xff
	}
	return nil
}
