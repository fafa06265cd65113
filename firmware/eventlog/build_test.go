package eventlog

import (
	"encoding/binary"
	"unicode/utf16"

	"github.com/probity-attest/probity/firmware/pcr"
)

// record is an event of a log that a test builds. Digests are hashes of measured, or of data where measured is nil.
type record struct {
	pcr      uint32
	typ      EventType
	data     []byte
	measured []byte
}

func le16(n uint16) []byte { return binary.LittleEndian.AppendUint16(nil, n) }
func le32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
func le64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func utf16le(s string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, le16(u)...)
	}
	return out
}

// specHeader builds the Spec ID record of these algorithms.
func specHeader(algorithms ...pcr.Algorithm) []byte {
	d := join([]byte("Spec ID Event03\x00"), le32(0), []byte{0, 2, 0, 2}, le32(uint32(len(algorithms))))
	for _, a := range algorithms {
		d = append(d, join(le16(uint16(a)), le16(uint16(a.Size())))...)
	}
	d = append(d, 0)
	return join(le32(0), le32(uint32(NoAction)), make([]byte, 20), le32(uint32(len(d))), d)
}

// buildLog builds a log of SHA-1 and SHA-256 digests.
func buildLog(records ...record) []byte {
	out := specHeader(pcr.SHA1, pcr.SHA256)
	for _, r := range records {
		out = append(out, buildRecord(r, pcr.SHA1, pcr.SHA256)...)
	}
	return out
}

func buildRecord(r record, algorithms ...pcr.Algorithm) []byte {
	out := join(le32(r.pcr), le32(uint32(r.typ)), le32(uint32(len(algorithms))))
	for _, a := range algorithms {
		out = append(out, join(le16(uint16(a)), r.digest(a))...)
	}
	return join(out, le32(uint32(len(r.data))), r.data)
}

func (r record) digest(a pcr.Algorithm) []byte {
	if r.typ == NoAction {
		return make([]byte, a.Size())
	}
	m := r.measured
	if m == nil {
		m = r.data
	}
	h := a.New()
	h.Write(m)
	return h.Sum(nil)
}

// build12 builds a log of TPM 1.2's format.
func build12(records ...record) []byte {
	var out []byte
	for _, r := range records {
		out = append(out, join(le32(r.pcr), le32(uint32(r.typ)), r.digest(pcr.SHA1), le32(uint32(len(r.data))), r.data)...)
	}
	return out
}

// separators returns the eight that a genuine log has.
func separators() []record {
	out := make([]record, 8)
	for i := range out {
		out[i] = record{pcr: uint32(i), typ: Separator, data: []byte{0, 0, 0, 0}}
	}
	return out
}

func locality(n byte) record {
	return record{typ: NoAction, data: append([]byte("StartupLocality\x00"), n)}
}

// variableData builds a UEFI_VARIABLE_DATA.
func variableData(g guid, name string, data []byte) []byte {
	n := utf16le(name)
	return join(g[:], le64(uint64(len(n)/2)), le64(uint64(len(data))), n, data)
}

func secureBootRecord(data ...byte) record {
	return record{pcr: 7, typ: EFIVariableDriverConfig, data: variableData(guidGlobalVariable, "SecureBoot", data)}
}

// signatureList builds an EFI_SIGNATURE_LIST with a header of its own before the signatures.
func signatureList(kind guid, header []byte, size int, signatures ...[]byte) []byte {
	out := join(kind[:], le32(uint32(28+len(header)+size*len(signatures))), le32(uint32(len(header))), le32(uint32(size)), header)
	for _, s := range signatures {
		out = append(out, s...)
	}
	return out
}

// node builds a device path node.
func node(kind, sub byte, data ...[]byte) []byte {
	d := join(data...)
	return join([]byte{kind, sub}, le16(uint16(4+len(d))), d)
}

var endNode = node(0x7f, 0xff)

// imageLoad builds a UEFI_IMAGE_LOAD_EVENT.
func imageLoad(path []byte) []byte {
	return join(le64(0x1000), le64(0x2000), le64(0), le64(uint64(len(path))), path)
}

// loose returns an event that belongs to no parsed log, for decoding alone.
func loose(index uint32, t EventType, data []byte) *Event {
	return &Event{PCR: index, Type: t, Data: data}
}
