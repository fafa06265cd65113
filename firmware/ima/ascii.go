package ima

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/probity-attest/probity/firmware/pcr"
)

// format is how the kernel prints a field (enum data_formats in ima_template_lib.c).
type format int

const (
	formatUnknown   format = iota
	formatOldDigest        // hexadecimal
	formatDigest           // name, colon, hexadecimal
	formatString           // as is
	formatHex              // hexadecimal
	formatUint16           // decimal
	formatUint32           // decimal
)

func formatOf(field string) format {
	switch field {
	case fieldOldDigest:
		return formatOldDigest
	case fieldDigest, fieldDigest2, "d-modsig":
		return formatDigest
	case fieldName, fieldOldName, "xattrnames":
		return formatString
	case fieldSignature, fieldBuffer, "modsig", "evmsig", "xattrlengths", "xattrvalues":
		return formatHex
	case "iuid", "igid":
		return formatUint32
	case "imode":
		return formatUint16
	}
	return formatUnknown
}

// fromASCII turns a list in the kernel's ASCII format (ascii_runtime_measurements) into the binary one, with the template
// data as the kernel hashed it. One entry a line: PCR, template digest, template name, fields, each after one space.
func fromASCII(list []byte) ([]byte, error) {
	var out []byte
	offset := 0
	for number := 0; offset < len(list); number++ {
		line, _, _ := bytes.Cut(list[offset:], []byte{'\n'})
		var err error
		if out, err = appendLine(out, line); err != nil {
			return nil, &ParseError{Entry: number, Offset: offset, Err: err}
		}
		offset += len(line) + 1
	}
	return out, nil
}

func appendLine(out, line []byte) ([]byte, error) {
	index, rest, _ := bytes.Cut(bytes.TrimLeft(line, " "), []byte{' '})
	n, err := strconv.ParseUint(clip(index), 10, 32)
	if err != nil || n >= pcr.Count {
		return nil, fmt.Errorf("PCR: want 0 to %d, got %q: not an IMA list", pcr.Count-1, clip(index))
	}
	digest, rest, _ := bytes.Cut(rest, []byte{' '})
	var templateDigest [DigestSize]byte
	if len(digest) != 2*DigestSize {
		return nil, fmt.Errorf("template digest: want %d hexadecimal digits, got %d", 2*DigestSize, len(digest))
	}
	if _, err := hex.Decode(templateDigest[:], digest); err != nil {
		return nil, fmt.Errorf("template digest: %w", err)
	}
	name, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok || len(name) > maxTemplateName {
		return nil, fmt.Errorf("template name: want 1 to %d bytes and fields after it", maxTemplateName)
	}
	template := string(name)
	ids := fieldsOf(template)
	if ids == nil {
		return nil, fmt.Errorf("template %q: unknown, so its data cannot be made from text: use the binary list", clip(name))
	}
	texts := bytes.Split(rest, []byte{' '})
	if len(texts) != len(ids) {
		return nil, fmt.Errorf("template %s: want %d fields, got %d", template, len(ids), len(texts))
	}
	data, err := dataOf(template, ids, texts)
	if err != nil {
		return nil, err
	}
	return appendEntry(out, Entry{PCR: uint32(n), Template: template, TemplateDigest: templateDigest[:], Data: data}), nil
}

// dataOf returns the template data whose fields print as these texts.
func dataOf(template string, ids []string, texts [][]byte) ([]byte, error) {
	var data []byte
	for i, id := range ids {
		v, err := valueOf(formatOf(id), texts[i])
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", id, err)
		}
		switch {
		case template != templateOld:
			data = binary.LittleEndian.AppendUint32(data, uint32(len(v)))
		case id == fieldOldDigest && len(v) != DigestSize:
			return nil, fmt.Errorf("field d: want %d bytes, got %d", DigestSize, len(v))
		case id == fieldOldName:
			v = v[:len(v)-1] // listed without its NUL
			if len(v) > maxOldName {
				return nil, fmt.Errorf("field n: %d bytes, at most %d allowed", len(v), maxOldName)
			}
			data = binary.LittleEndian.AppendUint32(data, uint32(len(v)))
		}
		data = append(data, v...)
	}
	if len(data) > maxData {
		return nil, fmt.Errorf("template data: %d bytes, at most %d allowed", len(data), maxData)
	}
	return data, nil
}

// valueOf returns the bytes of a field that prints as text.
func valueOf(f format, text []byte) ([]byte, error) {
	if f == formatString {
		if bytes.IndexByte(text, 0) >= 0 {
			return nil, errors.New("NUL inside a name")
		}
		return append(bytes.Clone(text), 0), nil
	}
	if len(text) == 0 { // the kernel prints nothing for a field without bytes
		return nil, nil
	}
	switch f {
	case formatDigest:
		i := bytes.LastIndexByte(text, ':')
		v := append(bytes.Clone(text[:i+1]), 0)
		if i < 0 {
			v = []byte{':', 0}
		}
		return appendHex(v, text[i+1:])
	case formatUint16, formatUint32:
		bits := 16
		if f == formatUint32 {
			bits = 32
		}
		n, err := strconv.ParseUint(clip(text), 10, bits)
		if err != nil {
			return nil, fmt.Errorf("want a number of %d bits, got %q", bits, clip(text))
		}
		return binary.LittleEndian.AppendUint32(nil, uint32(n))[:bits/8], nil
	default:
		return appendHex(nil, text)
	}
}

func appendHex(v, text []byte) ([]byte, error) {
	v, err := hex.AppendDecode(v, text)
	if err != nil {
		return nil, fmt.Errorf("not hexadecimal: %w", err)
	}
	return v, nil
}

// clip bounds what error messages repeat of a list.
func clip(b []byte) string {
	if len(b) > 40 {
		return string(b[:40]) + "..."
	}
	return string(b)
}
