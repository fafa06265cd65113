package tcgrim

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Namespaces of SWID tags and of what the RIM Information Model adds to them.
const (
	nsSWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
	nsRIM  = "https://trustedcomputinggroup.org/wp-content/uploads/TCG_RIM_Model"
)

// hashNamespaces name the algorithm of a file's attribute "hash" (XML Encryption 1.1; RFC 6931, section 2.1).
var hashNamespaces = map[string]pcr.Algorithm{
	"http://www.w3.org/2001/04/xmlenc#sha256":       pcr.SHA256,
	"http://www.w3.org/2001/04/xmldsig-more#sha384": pcr.SHA384,
	"http://www.w3.org/2001/04/xmlenc#sha512":       pcr.SHA512,
}

// read does check 4 of Open. It doesn't look into signatures.
func read(n *node) (*RIM, error) {
	if !n.is(nsSWID, "SoftwareIdentity") {
		return nil, fmt.Errorf("want a SWID tag (SoftwareIdentity of ISO/IEC 19770-2:2015), got an element %q", n.local)
	}
	r := &RIM{
		TagID: n.attribute("tagId"), Name: n.attribute("name"), Version: n.attribute("version"),
		Supplemental: n.attribute("supplemental") == "true", Patch: n.attribute("patch") == "true",
	}
	if r.TagID == "" || r.Name == "" {
		return nil, errors.New("the tag has no tagId or no name")
	}
	for _, e := range n.elements(nsSWID, "Entity") {
		if slices.Contains(strings.Fields(e.attribute("role")), "tagCreator") {
			r.Creator = e.attribute("name")
		}
	}
	for _, e := range n.elements(nsSWID, "Meta") {
		r.meta(e)
	}
	for _, e := range n.elements(nsSWID, "Payload") {
		if err := r.payload(e, ""); err != nil {
			return nil, err
		}
	}
	for _, s := range []string{
		r.TagID, r.Name, r.Version, r.Creator, r.BindingSpec, r.PlatformManufacturer, r.PlatformModel, r.PlatformVersion,
		r.FirmwareManufacturer, r.FirmwareModel, r.FirmwareVersion,
	} {
		if len(s) > maxText {
			return nil, fmt.Errorf("%.40q...: %d bytes, at most %d allowed", s, len(s), maxText)
		}
	}
	return r, nil
}

// meta reads the attributes that the RIM Information Model adds to Meta.
func (r *RIM) meta(n *node) {
	fields := map[string]*string{
		"bindingSpec": &r.BindingSpec, "platformManufacturerStr": &r.PlatformManufacturer, "platformModel": &r.PlatformModel,
		"platformVersion": &r.PlatformVersion, "firmwareManufacturerStr": &r.FirmwareManufacturer,
		"firmwareModel": &r.FirmwareModel, "firmwareVersion": &r.FirmwareVersion,
	}
	for _, a := range n.attrs {
		if uri, _ := n.attributeNamespace(a); uri != nsRIM {
			continue
		}
		if field := fields[a.local]; field != nil {
			*field = a.value
		}
	}
}

// payload reads files and directories below n.
func (r *RIM) payload(n *node, dir string) error {
	for _, e := range n.elements(nsSWID, "Directory") {
		if err := r.payload(e, join(dir, e.attribute("location"), e.attribute("name"))); err != nil {
			return err
		}
	}
	for _, e := range n.elements(nsSWID, "File") {
		if err := r.file(e, join(dir, e.attribute("location"), e.attribute("name"))); err != nil {
			return err
		}
	}
	return nil
}

func join(parts ...string) string {
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, "/")
}

func (r *RIM) file(n *node, where string) error {
	if len(r.Files) == MaxFiles {
		return fmt.Errorf("more than %d files", MaxFiles)
	}
	f := File{Path: where, Size: -1}
	if n.attribute("name") == "" || len(where) > maxText {
		return fmt.Errorf("file %.40q: it has no name, or one over %d bytes", where, maxText)
	}
	if s := n.attribute("size"); s != "" {
		size, err := strconv.ParseUint(s, 10, 62)
		if err != nil {
			return fmt.Errorf("file %q: size %.20q is no number", where, s)
		}
		f.Size = int64(size)
	}
	for _, a := range n.attrs {
		uri, _ := n.attributeNamespace(a)
		alg, known := hashNamespaces[uri]
		if a.local != "hash" || !known {
			continue
		}
		value, err := hex.DecodeString(a.value)
		if err != nil || len(value) != alg.Size() {
			return fmt.Errorf("file %q: %s %.140q is not %d bytes in hexadecimal", where, alg, a.value, alg.Size())
		}
		f.Digests = append(f.Digests, manifest.Digest{Algorithm: alg, Value: value})
	}
	if len(f.Digests) == 0 {
		return fmt.Errorf("file %q: no SHA-256, SHA-384 or SHA-512 digest", where)
	}
	slices.SortFunc(f.Digests, func(a, b manifest.Digest) int { return int(a.Algorithm) - int(b.Algorithm) })
	r.Files = append(r.Files, f)
	return nil
}
