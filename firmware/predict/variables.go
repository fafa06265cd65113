package predict

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/probity-attest/probity/firmware/image"
)

// variableKey identifies a UEFI variable.
type variableKey struct {
	guid image.GUID
	name string
}

// variables are those UEFI variables of a store that matter here. One that is not in it does not exist.
type variables map[variableKey][]byte

// looked are the names of the variables that are looked at.
var looked = []string{"PK", "KEK", "db", "dbx", "dbt", "dbr", "SecureBootEnable", "MokList", "MokListX"}

// stateReplaced is the state of a variable that is valid until its successor is complete (edk2, VariableFormat.h).
const stateReplaced = 0x3e

// parseVariables reads edk2's variable store out of an image of flash: OVMF_VARS.fd. An image of erased flash is an
// empty store, which the firmware fills when it starts first.
func parseVariables(b []byte) (variables, error) {
	m, err := image.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("variables: %w", err)
	}
	stores := m.Find(image.KindNVRAM)
	if len(stores) == 0 && blank(b) {
		return variables{}, nil
	}
	if len(stores) != 1 {
		return nil, inputError("the image of variables holds %d variable stores, want 1", len(stores))
	}
	out := variables{}
	replaced := map[variableKey]bool{}
	for _, p := range stores[0].Children {
		if p.Kind != image.KindVariable || p.Type == "deleted" || !slices.Contains(looked, p.Name) {
			continue
		}
		if p.Problem != "" {
			return nil, inputError("variable %s at %s: %s", p.Name, p.Place(), p.Problem)
		}
		k := variableKey{p.GUID, p.Name}
		_, there := out[k]
		old := p.Bytes()[2] == stateReplaced
		switch {
		case there && !old && !replaced[k]:
			return nil, inputError("variable %s is there twice, again at %s", p.Name, p.Place())
		case there && old:
			continue // its successor is complete
		}
		out[k], replaced[k] = p.Body(), old
	}
	return out, nil
}

// blank tells whether flash is erased, or a file that stands for it was never written.
func blank(b []byte) bool {
	for _, x := range b {
		if x != b[0] {
			return false
		}
	}
	return len(b) > 0 && (b[0] == 0 || b[0] == 0xff)
}

// get returns the value of a variable, nil if it does not exist.
func (v variables) get(guid image.GUID, name string) []byte { return v[variableKey{guid, name}] }

// signature is an EFI_SIGNATURE_DATA of a database.
type signature struct {
	kind image.GUID
	raw  []byte // with its owner's GUID in front
}

func (s signature) data() []byte { return s.raw[16:] }

// parseDatabase reads the EFI_SIGNATURE_LISTs of a Secure Boot database (UEFI 2.10, section 32.4.1). Lists must fill
// it, and signatures their list.
func parseDatabase(b []byte) ([]signature, error) {
	const fixed = 28
	if len(b) > MaxDatabase {
		return nil, inputError("a Secure Boot database of %d bytes, want at most %d", len(b), MaxDatabase)
	}
	var out []signature
	for at := 0; at < len(b); {
		h := b[at:]
		if len(h) < fixed {
			return nil, inputError("signature list at byte %#x of a Secure Boot database is cut off", at)
		}
		list, header := uint64(binary.LittleEndian.Uint32(h[16:])), uint64(binary.LittleEndian.Uint32(h[20:]))
		size := uint64(binary.LittleEndian.Uint32(h[24:]))
		if list < fixed+header || list > uint64(len(h)) || size <= 16 || (list-fixed-header)%size != 0 {
			return nil, inputError("signature list at byte %#x of a Secure Boot database: %d bytes with a header of %d and "+
				"signatures of %d, %d left", at, list, header, size, len(h))
		}
		var kind image.GUID
		copy(kind[:], h)
		for body := h[fixed+header : list]; len(body) > 0; body = body[size:] {
			out = append(out, signature{kind: kind, raw: body[:size:size]})
		}
		at += int(list)
	}
	return out, nil
}

// signatureList returns an EFI_SIGNATURE_LIST of one signature.
func signatureList(kind, owner image.GUID, data []byte) []byte {
	le := binary.LittleEndian
	out := le.AppendUint32(kind[:len(kind):len(kind)], uint32(28+16+len(data)))
	out = le.AppendUint32(le.AppendUint32(out, 0), uint32(16+len(data)))
	return append(append(out, owner[:]...), data...)
}
