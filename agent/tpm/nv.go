package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// NV indices of the EK Credential Profile 2.5, section 2.2.1.
const (
	firstIndex = 0x01c00000
	lastIndex  = 0x01c07fff
	firstChain = 0x01c00100
	lastChain  = 0x01c001ff
)

// indices lists the NV indices that TPM and platform makers defined.
func (t *TPM) indices() (map[uint32]bool, error) {
	handles, err := t.handles(firstIndex)
	if err != nil {
		return nil, err
	}
	out := make(map[uint32]bool)
	for _, h := range handles {
		if h >= firstIndex && h <= lastIndex {
			out[uint32(h)] = true
		}
	}
	return out, nil
}

// nvChunk is how much TPM2_NV_Read returns at once: TPM_PT_NV_BUFFER_MAX, or what every TPM can.
func (t *TPM) nvChunk() uint16 {
	const least = 512
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTNVBufferMax), PropertyCount: 1,
	}.Execute(t.dev)
	if err != nil {
		return least
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil || len(list.TPMProperty) != 1 || list.TPMProperty[0].Property != tpm2.TPMPTNVBufferMax {
		return least
	}
	return uint16(min(max(list.TPMProperty[0].Value, 64), 2048))
}

// readIndex returns an NV index's data, with the index's own or the owner's empty password.
func (t *TPM) readIndex(index uint32) ([]byte, error) {
	op := fmt.Sprintf("read NV index %#x", index)
	pub, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(t.dev)
	if err != nil {
		return nil, explain(op, err)
	}
	info, err := pub.NVPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if info.DataSize > maxIndex {
		return nil, fmt.Errorf("%s: %d bytes, at most %d allowed", op, info.DataSize, maxIndex)
	}
	auth := tpm2.AuthHandle{Handle: tpm2.TPMHandle(index), Name: pub.NVName, Auth: tpm2.PasswordAuth(nil)}
	if !info.Attributes.AuthRead {
		if !info.Attributes.OwnerRead {
			return nil, fmt.Errorf("%s: its attributes let neither the index's nor the owner's password read it", op)
		}
		auth = tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	}
	chunk := t.nvChunk()
	out := make([]byte, 0, info.DataSize)
	for len(out) < int(info.DataSize) {
		rsp, err := tpm2.NVRead{
			AuthHandle: auth,
			NVIndex:    tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: pub.NVName},
			Size:       min(chunk, info.DataSize-uint16(len(out))),
			Offset:     uint16(len(out)),
		}.Execute(t.dev)
		if err != nil {
			return nil, explain(op, err)
		}
		if len(rsp.Data.Buffer) == 0 {
			return nil, fmt.Errorf("%s: no data at offset %d", op, len(out))
		}
		out = append(out, rsp.Data.Buffer...)
	}
	return out, nil
}

var errNotDER = errors.New("not a DER sequence")

// cutDER splits the DER SEQUENCE at the start of b from what follows: NV indices are often larger than the certificate
// in them. The bytes are never re-encoded, as some makers' certificates are not what an encoder would make of them.
func cutDER(b []byte) (der, rest []byte, err error) {
	if len(b) < 4 || b[0] != 0x30 {
		return nil, b, errNotDER
	}
	var n int
	switch b[1] {
	case 0x81:
		n = 3 + int(b[2])
	case 0x82:
		n = 4 + int(binary.BigEndian.Uint16(b[2:]))
	default:
		if b[1] > 0x7f {
			return nil, b, errNotDER
		}
		n = 2 + int(b[1])
	}
	if n > len(b) {
		return nil, b, fmt.Errorf("%w: %d bytes of %d", errNotDER, len(b), n)
	}
	return b[:n], b[n:], nil
}
