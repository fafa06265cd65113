package pecoff

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/pcr"
)

// StubPCR is the register that systemd-stub measures a unified kernel image into.
const StubPCR = 11

// ErrNoStub is returned for an image that is not a unified kernel image on systemd-stub.
var ErrNoStub = errors.New("no unified kernel image: want systemd-stub with a .linux section")

// unified are the sections that systemd-stub knows, in the order in which it measures them (systemd,
// src/fundamental/uki.h: "please do not reorder"). Versions differ in how many they know, not in their order.
var unified = []string{
	".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrsig", ".pcrpkey",
	".profile", ".dtbauto", ".hwids", ".efifw",
}

// Measurement is what systemd-stub measures of one section, as two events in this order: the digest of Name, then the
// digest of Content.
type Measurement struct {
	Section string // such as ".linux"
	// Name is the section's name with one trailing NUL.
	Name []byte
	// Content is the section as it is in memory.
	Content []byte
	// Conditional tells that the machine decides whether this section is measured: one of several devicetrees or
	// firmware images that the stub picks by hardware id.
	Conditional bool
}

// Digests returns the digests of both events. It panics for an algorithm that pcr cannot compute.
func (m *Measurement) Digests(a pcr.Algorithm) (name, content []byte) {
	n, c := a.New(), a.New()
	n.Write(m.Name)
	c.Write(m.Content)
	return n.Sum(nil), c.Sum(nil)
}

// stubMagic stands before the version in every systemd-stub: in a section .sdmagic where the linker kept one.
const stubMagic = "#### LoaderInfo: systemd-stub "

// StubVersion returns the version of the systemd-stub that a unified kernel image is built on, such as
// "252.39-1~deb12u2", and "" for other images.
func (f *File) StubVersion() string {
	for at := 0; ; at++ {
		n := bytes.Index(f.b[at:], []byte(stubMagic))
		if n < 0 {
			return ""
		}
		at += n
		if f.payload(at) { // a stub in what the stub carries
			continue
		}
		after := f.b[at+len(stubMagic):]
		version, _, ok := strings.Cut(string(after[:min(len(after), 64)]), " ####")
		if !ok || strings.ContainsAny(version, "\x00\n") {
			return ""
		}
		return version
	}
}

// payload reports whether a byte of the file lies in a section that the stub carries for others.
func (f *File) payload(at int) bool {
	for i := range f.Sections {
		s := &f.Sections[i]
		if at >= s.Offset && at < s.Offset+s.Size && slices.Contains(unified, s.Name) {
			return true
		}
	}
	return false
}

// StubMeasurements returns what systemd-stub measures of this unified kernel image into StubPCR, in order, when it is
// booted with its default profile (the first) and without command line, credentials or add-ons from outside, which go
// into other registers. The error is ErrNoStub.
//
// Which sections a stub measures depends on its version; those that it knows are told from the names in its code.
func (f *File) StubMeasurements() ([]Measurement, error) {
	if f.StubVersion() == "" || f.Section(".linux") == nil {
		return nil, ErrNoStub
	}
	profile := f.defaultProfile()
	var out []Measurement
	for _, name := range unified {
		if name == ".pcrsig" || !f.stubKnows(name) { // a signature over the measurement cannot be part of it
			continue
		}
		for _, s := range profile[name] {
			out = append(out, Measurement{
				Section: name, Name: append([]byte(name), 0), Content: s.Content(),
				Conditional: name == ".dtbauto" || name == ".efifw",
			})
		}
	}
	return out, nil
}

// defaultProfile returns the sections of profile 0 by name: those before the first .profile section, overridden by
// those between the first and the second. Only .dtbauto and .efifw may occur more than once in a profile; of others the
// first counts.
func (f *File) defaultProfile() map[string][]*Section {
	base, own := map[string][]*Section{}, map[string][]*Section{}
	current, profiles := base, 0
	for i := range f.Sections {
		s := &f.Sections[i]
		if s.Name == ".profile" {
			if profiles++; profiles > 1 {
				break
			}
			current = own
		}
		if s.Memory == 0 {
			continue
		}
		if len(current[s.Name]) == 0 || s.Name == ".dtbauto" || s.Name == ".efifw" {
			current[s.Name] = append(current[s.Name], s)
		}
	}
	for name, s := range own {
		base[name] = s
	}
	return base
}

// stubKnows reports whether the stub's own code holds the name of this section.
func (f *File) stubKnows(name string) bool {
	want := append([]byte(name), 0)
	for _, code := range []string{".text", ".rodata", ".data"} {
		if s := f.Section(code); s != nil && bytes.Contains(s.Data(), want) {
			return true
		}
	}
	return false
}
