package ima

import (
	"bytes"
	"encoding/binary"
	"strings"
)

const (
	templateOld = "ima"
	templateNG  = "ima-ng"
	templateSig = "ima-sig"
)

// Fields of templates (supported_fields in ima_template.c).
const (
	fieldOldDigest = "d"
	fieldOldName   = "n"
	fieldDigest    = "d-ng"
	fieldDigest2   = "d-ngv2"
	fieldName      = "n-ng"
	fieldSignature = "sig"
	fieldBuffer    = "buf"
)

// templates are the built-in ones (builtin_templates in ima_template.c), the most frequent first. In all of them the
// first field is the digest and the second the name: File relies on it.
var templates = []struct {
	name   string
	fields []string
}{
	{templateNG, []string{fieldDigest, fieldName}},
	{templateSig, []string{fieldDigest, fieldName, fieldSignature}},
	{"ima-buf", []string{fieldDigest, fieldName, fieldBuffer}},
	{"ima-ngv2", []string{fieldDigest2, fieldName}},
	{"ima-sigv2", []string{fieldDigest2, fieldName, fieldSignature}},
	{"ima-modsig", []string{fieldDigest, fieldName, fieldSignature, "d-modsig", "modsig"}},
	{"evm-sig", []string{
		fieldDigest, fieldName, "evmsig", "xattrnames", "xattrlengths", "xattrvalues", "iuid", "igid", "imode",
	}},
	{templateOld, []string{fieldOldDigest, fieldOldName}},
}

// fieldsOf returns the fields of a template, nil for one that is opaque. A custom format (ima_template_fmt=) is its own
// name; it is decoded where it begins as the built-in ones do.
func fieldsOf(template string) []string {
	for _, t := range templates {
		if t.name == template {
			return t.fields
		}
	}
	if !strings.HasPrefix(template, fieldDigest+"|"+fieldName) && !strings.HasPrefix(template, fieldDigest2+"|"+fieldName) {
		return nil
	}
	fields := strings.Split(template, "|")
	if len(fields) > maxFields {
		return nil
	}
	for _, f := range fields {
		if formatOf(f) == formatUnknown {
			return nil
		}
	}
	return fields
}

// File is what an entry says of the file, or buffer, that was measured.
type File struct {
	Path       string // raw: may hold any byte but NUL; "boot_aggregate" is no file. Spaces were made "_" by the kernel
	DigestType string // "" and "ima": digest of the content; "verity": of the fs-verity descriptor (ima-ngv2, ima-sigv2)
	Algorithm  string // hash of Digest, as the kernel names it: "sha256"
	Digest     []byte
	Signature  []byte // contents of security.ima (ima-sig, ima-sigv2, ima-modsig), nil for none
	Buffer     []byte // what was measured instead of a file (ima-buf), nil for none
}

// File decodes the template data. It returns false where the template is opaque or the data does not have its form:
// callers must treat such an entry as an unknown file, not as none. For a violation the content is a claim.
func (e Entry) File() (File, bool) {
	var values [maxFields][]byte
	ids, ok := e.split(&values)
	if !ok {
		return File{}, false
	}
	var f File
	if !f.setDigest(ids[0], values[0], e.Violation()) || !f.setPath(ids[1], values[1]) {
		return File{}, false
	}
	for i, id := range ids[2:] {
		v := values[2+i]
		if len(v) == 0 {
			continue
		}
		switch id {
		case fieldSignature:
			f.Signature = v
		case fieldBuffer:
			f.Buffer = v
		}
	}
	return f, true
}

// Field returns the raw bytes of a template field by its kernel id, such as "modsig". It returns false where the template
// has none or the data does not have its form.
func (e Entry) Field(id string) ([]byte, bool) {
	var values [maxFields][]byte
	ids, _ := e.split(&values)
	for i := range ids {
		if ids[i] == id {
			return values[i], true
		}
	}
	return nil, false
}

// IsBootAggregate reports whether the entry is the kernel's digest over the boot PCRs (see CheckBootAggregate).
func (e Entry) IsBootAggregate() bool {
	f, ok := e.File()
	return ok && f.Path == BootAggregatePath && !e.Violation()
}

// split finds the fields of the data, which must fill it exactly: each has a length (4 bytes) and as many bytes.
func (e *Entry) split(values *[maxFields][]byte) ([]string, bool) {
	ids := fieldsOf(e.Template)
	if ids == nil {
		return nil, false
	}
	rest := e.Data
	if e.Template == templateOld {
		if len(rest) < DigestSize+4 || int(binary.LittleEndian.Uint32(rest[DigestSize:])) != len(rest)-DigestSize-4 {
			return nil, false
		}
		values[0], values[1] = rest[:DigestSize], rest[DigestSize+4:]
		return ids, true
	}
	for i := range ids {
		if len(rest) < 4 {
			return nil, false
		}
		n := uint64(binary.LittleEndian.Uint32(rest))
		rest = rest[4:]
		if uint64(len(rest)) < n {
			return nil, false
		}
		values[i], rest = rest[:n:n], rest[n:]
	}
	return ids, len(rest) == 0
}

// setDigest decodes a digest field (ima_eventdigest_init_common): d-ng is "sha256:" NUL digest, d-ngv2 "verity:sha256:"
// NUL digest, d the digest alone.
func (f *File) setDigest(id string, v []byte, violation bool) bool {
	if id == fieldOldDigest {
		f.Algorithm, f.Digest = "sha1", v
		return len(v) == DigestSize
	}
	name, digest, ok := bytes.Cut(v, []byte{':', 0})
	if !ok {
		return false
	}
	if id == fieldDigest2 {
		kind, rest, found := bytes.Cut(name, []byte{':'})
		switch {
		case found && string(kind) == "ima":
			f.DigestType = "ima"
		case found && string(kind) == "verity":
			f.DigestType = "verity"
		default:
			return false
		}
		name = rest
	}
	if f.Algorithm, ok = algorithmName(name); !ok {
		return false
	}
	f.Digest = digest
	if violation { // 20 zero bytes under any name in older kernels
		return len(digest) <= maxDigest
	}
	if want := sizeOf(f.Algorithm); want != 0 {
		return len(digest) == want
	}
	return len(digest) > 0 && len(digest) <= maxDigest
}

// maxDigest is the size of the largest file digest of the kernel's crypto API, in bytes.
const maxDigest = 64

// algorithmName returns the name as a string, without allocating for the usual ones.
func algorithmName(b []byte) (string, bool) {
	switch string(b) {
	case "sha256":
		return "sha256", true
	case "sha1":
		return "sha1", true
	case "sha384":
		return "sha384", true
	case "sha512":
		return "sha512", true
	}
	if len(b) == 0 || len(b) > 32 {
		return "", false
	}
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "", false
		}
	}
	return string(b), true
}

// sizeOf returns the digest size of a hash by the kernel's name, 0 for those that are not checked.
func sizeOf(algorithm string) int {
	switch algorithm {
	case "md5":
		return 16
	case "sha1":
		return 20
	case "sha224":
		return 28
	case "sha256", "sm3":
		return 32
	case "sha384":
		return 48
	case "sha512":
		return 64
	}
	return 0
}

// setPath decodes a name field: n-ng ends in NUL, n does not.
func (f *File) setPath(id string, v []byte) bool {
	if id == fieldName {
		if len(v) == 0 || v[len(v)-1] != 0 {
			return false
		}
		v = v[:len(v)-1]
	}
	if bytes.IndexByte(v, 0) >= 0 {
		return false
	}
	f.Path = string(v)
	return true
}
