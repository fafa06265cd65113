// Package tcgrim imports Reference Integrity Manifest (RIM) bundles as makers of PCs and servers publish them: a base
// RIM, which is a signed SWID tag in XML, and support RIMs, such as boot event logs, whose digests stand in it.
//
// Sources: TCG Reference Integrity Manifest Information Model 1.01 and PC Client Reference Integrity Manifest 1.04;
// SWID is ISO/IEC 19770-2:2015, signatures are XML Signature 1.1. Open verifies a base RIM and returns what is in its
// signed part; File.Verify says whether a support RIM is the one that it means. What an event log holds is for package
// eventlog.
//
// Of XML Signature only what makers use is accepted: one enveloped signature over the whole tag in Canonical XML 1.0,
// by RSA or ECDSA with SHA-2 and a certificate that the caller trusts. What is read is what was hashed. Certificates
// and keys in the document aren't looked at, so that whoever wrote it can't choose them. There are no document types,
// entities and external references; limits are in limits.go.
//
// The canonical form is made here: goxmldsig 1.6.1 sorts attributes of several namespaces in another order and doesn't
// inherit xml:lang, so that real tags, which have both, fail with it.
package tcgrim

import (
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
)

// ErrSignature is returned where no trusted certificate's key signed the tag.
var ErrSignature = errors.New("no trusted certificate verifies the signature")

// RIM is the signed content of a base RIM.
type RIM struct {
	TagID        string // unique among all tags
	Name         string
	Version      string
	Creator      string // organisation that wrote the tag
	Supplemental bool   // it adds to another tag
	Patch        bool   // it describes a patch of another tag's software
	BindingSpec  string // "PC Client RIM"

	PlatformManufacturer string
	PlatformModel        string
	PlatformVersion      string
	FirmwareManufacturer string
	FirmwareModel        string
	FirmwareVersion      string

	Files  []File            // support RIMs
	Signer *x509.Certificate // that verified the signature, one of those that were trusted
}

// File is a support RIM as the base RIM states it.
type File struct {
	Path    string // directories and name as stated, which needn't exist here
	Size    int64  // in bytes; -1: not stated
	Digests manifest.Digests
}

// Open verifies and reads a base RIM. The checks, in order:
//
//  1. size, well-formed XML within the limits, without document type and processing instructions, in UTF-8;
//  2. one enveloped signature with one reference to the whole document, by methods that don't rest on SHA-1;
//  3. the digest of the document, and the signature by one of signers, whose certificate is valid at now (it isn't
//     chained to others: the caller trusts just these);
//  4. a SWID tag with id and name, and files with digests.
func Open(tag []byte, signers []*x509.Certificate, now time.Time) (*RIM, error) {
	root, err := parse(tag)
	if err != nil {
		return nil, fmt.Errorf("base RIM: %w", err)
	}
	s, err := find(root)
	if err != nil {
		return nil, fmt.Errorf("base RIM: %w", err)
	}
	signer, err := s.verify(root, signers, now)
	if err != nil {
		return nil, fmt.Errorf("base RIM: %w", err)
	}
	r, err := read(root)
	if err != nil {
		return nil, fmt.Errorf("base RIM: %w", err)
	}
	r.Signer = signer
	return r, nil
}

// Verify reports whether content is the support RIM that the base RIM means: size and every digest must be as stated.
func (f *File) Verify(content []byte) error {
	if f.Size >= 0 && int64(len(content)) != f.Size {
		return fmt.Errorf("support RIM %q: %d bytes, the base RIM states %d", f.Path, len(content), f.Size)
	}
	if len(f.Digests) == 0 {
		return fmt.Errorf("support RIM %q: the base RIM states no digest", f.Path)
	}
	for _, d := range f.Digests {
		h := d.Algorithm.New()
		h.Write(content)
		if string(h.Sum(nil)) != string(d.Value) {
			return fmt.Errorf("support RIM %q: %s is %x, the base RIM states %x", f.Path, d.Algorithm, h.Sum(nil), d.Value)
		}
	}
	return nil
}

// EventLogs returns the files that are boot event logs by their name: *.rimel, as the PC Client RIM has it.
func (r *RIM) EventLogs() (out []File) {
	for _, f := range r.Files {
		if strings.EqualFold(path.Ext(f.Path), ".rimel") {
			out = append(out, f)
		}
	}
	return out
}

// Manifest returns a manifest of the RIM's platform with this id, without any measurements: those of the event logs are
// to be added. It fails where the RIM names no platform or is only part of one.
func (r *RIM) Manifest(id string) (*manifest.Manifest, error) {
	if r.Supplemental || r.Patch {
		return nil, fmt.Errorf("base RIM %q is a supplement or patch of another one: import that one", r.TagID)
	}
	m := &manifest.Manifest{
		ID: id, Vendor: r.PlatformManufacturer, Model: r.PlatformModel, Version: r.FirmwareVersion,
	}
	if m.Version == "" {
		m.Version = r.Version
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("base RIM %q: %w", r.TagID, err)
	}
	return m, nil
}
