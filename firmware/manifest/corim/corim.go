// Package corim reads and writes Concise Reference Integrity Manifests (CoRIM, draft-ietf-rats-corim-11) and what they
// contain: Concise Module Identifiers (CoMID) and Concise Software Identifiers (CoSWID, RFC 9393), plain or signed with
// COSE_Sign1 (RFC 9052).
//
// It knows the structure, not the meaning: profiles, such as that of package manifest, say what the values stand for.
// What it doesn't model, extensions included, is kept as encoded CBOR and written again as it was. Nothing here
// verifies a signature. Reading is strict (duplicate keys, indefinite lengths, bytes after the end, missing fields,
// sizes over the limits of limits.go are errors) and every error tells the byte at which it is. Byte slices that are
// read share memory with the input.
package corim

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// CBOR tags (draft, section 11.2; RFC 8949, section 3.4; RFC 9052, section 4.2; RFC 9090).
const (
	TagCoRIM  = 501 // unsigned CoRIM: a map
	TagCoSWID = 505 // encoded CoSWID in a byte string
	TagCoMID  = 506 // encoded CoMID in a byte string
	TagCoTL   = 508 // encoded Concise Tag List in a byte string

	TagUUID  = 37
	TagOID   = 111
	TagBytes = 560 // opaque identifier

	tagTime   = 1
	tagURI    = 32
	tagSign1  = 18
	tagSVN    = 552
	tagMinSVN = 553
)

// Field is a member of a map that is kept as it is: an extension, or something that this package doesn't model.
type Field struct {
	Key    int64
	Name   string // the key, where it is text
	Offset int    // of Value in the document that was read; not written
	Value  []byte // encoded CBOR
}

// ID identifies a CoRIM or a tag: text or a UUID (sections 4.1.1, 5.1.1.1).
type ID struct {
	Text string
	UUID []byte // 16 bytes; nil: Text counts
}

// String returns the text, or the UUID as RFC 9562 writes it.
func (i ID) String() string {
	if i.UUID == nil {
		return i.Text
	}
	return formatUUID(i.UUID)
}

func formatUUID(b []byte) string {
	h := hex.EncodeToString(b)
	if len(h) != 32 {
		return h
	}
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// CoRIM is a corim-map (section 4.1).
type CoRIM struct {
	ID         ID
	Tags       []Tag
	Profile    string    // URI, or "oid:" and the hexadecimal encoding of an OID; empty: none
	NotBefore  time.Time // zero: none
	NotAfter   time.Time // zero: no validity at all
	Entities   []Entity
	Extensions []Field // dependent-rims (2) among them

	Signed *Signed // envelope in which it was read; nil: none. Not written
}

// Tag is one tag of a CoRIM (section 4.1.2). One of CoMID and CoSWID is set, or none if this package doesn't model the
// tag.
type Tag struct {
	Number uint64 // CBOR tag
	Offset int    // of Raw in the document that was read
	CoMID  *CoMID
	CoSWID *CoSWID
	Raw    []byte // the encoded content as read; written where neither CoMID nor CoSWID is set
}

// Entity is an organisation with its roles (section 7.2).
type Entity struct {
	Name   string
	Roles  []int64
	Others []Field // reg-id (1) among them
}

// CoMID is a concise-mid-tag (section 5.1).
type CoMID struct {
	Language string
	ID       ID
	Version  uint64
	Entities []Entity
	Triples  Triples
	Others   []Field // linked-tags (3) among them
}

// Triples is a triples-map (section 5.1.4).
type Triples struct {
	Reference []Triple
	Endorsed  []Triple
	CoSWIDs   []CoSWIDTriple
	Others    []Field // kinds of triples that are not modelled, and extensions
}

// Triple says that the measurements apply to the environment: a reference-triple-record or endorsed-triple-record.
type Triple struct {
	Environment  Environment
	Measurements []Measurement
	Offset       int // in the document that was read
}

// CoSWIDTriple says which CoSWIDs have the measurements of an environment (section 5.1.12).
type CoSWIDTriple struct {
	Environment Environment
	IDs         []ID
}

// Environment is an environment-map (section 5.1.4.1).
type Environment struct {
	Class  *Class
	Others []Field // instance (1), group (2)
}

// Class is a class-map (section 5.1.4.2).
type Class struct {
	ID     *ClassID
	Vendor string
	Model  string
	Layer  *uint64
	Index  *uint64
}

// ClassID is a class-id: TagUUID, TagOID or TagBytes and the bytes.
type ClassID struct {
	Tag   uint64
	Bytes []byte
}

// String returns the id for people.
func (c ClassID) String() string {
	switch c.Tag {
	case TagUUID:
		return formatUUID(c.Bytes)
	case TagOID:
		return "oid:" + hex.EncodeToString(c.Bytes)
	}
	return hex.EncodeToString(c.Bytes)
}

// Measurement is a measurement-map (section 5.1.4.5).
type Measurement struct {
	Key    *Key // nil: anonymous
	Values Values
	Others []Field // authorized-by (2)
	Offset int     // in the document that was read
}

// Key names a measured element (section 5.1.4.5.1): a number, text, or a tagged OID or UUID.
type Key struct {
	Number uint64
	Text   string   // not empty: the key is text
	ID     *ClassID // not nil: the key is this OID or UUID
}

// String returns the key for people.
func (k Key) String() string {
	switch {
	case k.ID != nil:
		return k.ID.String()
	case k.Text != "":
		return k.Text
	}
	return fmt.Sprint(k.Number)
}

// Values is a measurement-values-map (section 5.1.4.5.2).
type Values struct {
	Version   *Version
	SVN       *SVN
	Digests   []Digest // of one content, by different algorithms
	Name      string
	Registers []Register // integrity-registers
	Others    []Field    // other values, and extensions
}

// Version is a version-map (section 5.1.4.5.3).
type Version struct {
	Text   string
	Scheme []byte // encoded version-scheme; nil: none
}

// SVN is a security version number (section 5.1.4.5.4).
type SVN struct {
	Number  uint64
	Minimum bool // the lowest that is acceptable
	Bare    bool // without the tag that says it is exact
}

// Digest is a digest with its algorithm (section 7.7).
type Digest struct {
	Algorithm int64  // of the Named Information Hash Algorithm Registry
	Name      string // the algorithm, where the document has text
	Value     []byte
}

// Numbers of the Named Information Hash Algorithm Registry (RFC 6920, section 9.4).
const (
	SHA256 = 1
	SHA384 = 7
	SHA512 = 8
)

// Register is one integrity register (section 5.1.4.7).
type Register struct {
	Number  uint64
	Name    string // not empty: the register's identifier is text
	Digests []Digest
}
