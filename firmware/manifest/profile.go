package manifest

import (
	"github.com/fxamacker/cbor/v2"

	"github.com/probity-attest/probity/firmware/manifest/corim"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Class ids of the profile's environments (README.md, section 4): UUIDs of version 5 in the URL namespace (RFC 9562,
// section 6.6), of the profile identifier, "#" and the name.
var (
	classDevice   = corim.ClassID{Tag: corim.TagUUID, Bytes: []byte("\xbd\x3d\xb0\x94\x2e\xa3\x5a\x23\x97\xbe\x21\x9c\x16\xd0\x8a\x06")}
	classPCR      = corim.ClassID{Tag: corim.TagUUID, Bytes: []byte("\x16\x35\x28\x27\x1b\x49\x50\xca\x81\xee\xeb\xc2\x01\x39\xe7\x25")}
	classEvent    = corim.ClassID{Tag: corim.TagUUID, Bytes: []byte("\x86\xc6\x13\xd6\x77\x3d\x5e\xe6\x9a\x15\xb9\xdc\xa8\xec\x57\x21")}
	classFlash    = corim.ClassID{Tag: corim.TagUUID, Bytes: []byte("\x44\x63\xe5\xfd\xe8\x65\x54\x96\xa9\x95\x03\x35\x3a\x07\x25\x03")}
	classFiles    = corim.ClassID{Tag: corim.TagUUID, Bytes: []byte("\xbc\x63\xbc\x71\x28\xe6\x51\x5f\xbc\x6c\x14\xf3\xfc\xc9\x99\x5a")}
	classManifest = corim.ClassID{Tag: corim.TagUUID, Bytes: []byte("\x98\x6c\xba\x8b\x35\xef\x59\x48\x9e\x10\x84\x31\x5f\x25\xf2\x09")}
	classContent  = corim.ClassID{Tag: corim.TagUUID, Bytes: []byte("\x49\xa1\x8e\xe8\x0a\xbb\x57\xb2\x91\xea\x24\x2a\xc0\x4a\x11\x49")}
)

// deniedClasses are the class ids of components in denied triples.
var deniedClasses = map[Component]*corim.ClassID{
	AnyComponent: &classContent, DeniedEvent: &classEvent, DeniedPCR: &classPCR, DeniedRegion: &classFlash,
	DeniedFile: &classFiles,
}

// Keys of the profile's extensions, all from the ranges for private use (draft, sections 11.3, 11.8 and 11.9).
const (
	extSupersedes = -1 // of corim-map
	extAdvisory   = -2 // of corim-map

	extDenied = -1 // of triples-map

	extCoverage = -1 // of measurement-values-map, as the following
	extRequired = -2
	extRange    = -3
	extExcluded = -4
)

// firmwareElement is the measured element that version and security version number belong to.
const firmwareElement = "firmware"

// wireRange is flash-range, wireExcluded an element of excluded-ranges, wireSupersession one of supersedes.
type (
	wireRange struct {
		_      struct{} `cbor:",toarray"`
		Offset uint64
		Length uint64
	}
	wireExcluded struct {
		_      struct{} `cbor:",toarray"`
		Offset uint64
		Length uint64
		Reason string
	}
	wireSupersession struct {
		_     struct{} `cbor:",toarray"`
		ID    string
		Until *int64 // seconds since 1970
	}
)

var (
	encoding = func() cbor.EncMode {
		m, err := cbor.CoreDetEncOptions().EncMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
	decoding = func() cbor.DecMode {
		m, err := cbor.DecOptions{TagsMd: cbor.TagsForbidden, MaxArrayElements: corim.MaxElements}.DecMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
)

// extension returns an extension field.
func extension(key int64, v any) corim.Field {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic(err) // only the types above, numbers, text and booleans come here
	}
	return corim.Field{Key: key, Value: b}
}

// number returns an algorithm's number in the Named Information Hash Algorithm Registry, 0 if it has none.
func number(a pcr.Algorithm) int64 {
	switch a {
	case pcr.SHA256:
		return corim.SHA256
	case pcr.SHA384:
		return corim.SHA384
	case pcr.SHA512:
		return corim.SHA512
	}
	return 0
}

// algorithm is the inverse of number.
func algorithm(n int64) pcr.Algorithm {
	switch n {
	case corim.SHA256:
		return pcr.SHA256
	case corim.SHA384:
		return pcr.SHA384
	case corim.SHA512:
		return pcr.SHA512
	}
	return 0
}
