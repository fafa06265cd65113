package appraise

import (
	"crypto/sha256"
	"sync"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
)

// Memo remembers what followed from a boot log, PCR values, references and policy, likewise from flash and inventory, and
// the attestation keys and claims that were parsed, so that an unchanged device costs look-ups. It never changes an
// outcome: a key names everything that the value depends on. It is safe for concurrent use and bounded: when full, the
// older half goes.
type Memo struct {
	boots generations[memoKey, *bootVerdict]
	parts generations[partKey, *partVerdict]
	keys  generations[string, attestationKey] // by TPMT_PUBLIC
	said  generations[string, *proto.Claims]  // by their encoding: a device says the same until it boots
}

// Sizes of a memo: a boot is shared by all devices of a model and state, keys and claims belong to one device.
const (
	maxBoots   = 4096
	maxParts   = 8192
	maxDevices = 32768
	// maxPart is the largest content of flash or inventory of which the verdict is remembered, in bytes: with maxParts it
	// bounds what devices can make a verifier keep.
	maxPart = 8 << 10
	// maxSaid is the longest encoding of claims that is remembered, in bytes; a device may send longer ones.
	maxSaid = 512
)

type memoKey struct {
	log   proto.Digest // zero: no log
	pcrs  [sha256.Size]byte
	bank  pcr.Algorithm
	basis string
}

// partKey names what a partVerdict depends on.
type partKey struct {
	part    result.Submod
	content proto.Digest
	basis   string
	booted  [sha256.Size]byte // document that the boot was compared with
}

func (m *Memo) part(k partKey) *partVerdict {
	if m == nil {
		return nil
	}
	v, _ := m.parts.get(k)
	return v
}

func (m *Memo) keepPart(k partKey, v *partVerdict) {
	if m != nil {
		m.parts.put(k, v, maxParts)
	}
}

func (m *Memo) boot(k memoKey) *bootVerdict {
	if m == nil {
		return nil
	}
	v, _ := m.boots.get(k)
	return v
}

func (m *Memo) keepBoot(k memoKey, v *bootVerdict) {
	if m != nil {
		m.boots.put(k, v, maxBoots)
	}
}

// attestationKey parses the public area of an AK, once for each.
func (m *Memo) attestationKey(public []byte) (attestationKey, error) {
	if m == nil {
		return parseTPMKey(public)
	}
	if k, ok := m.keys.get(string(public)); ok {
		return k, nil
	}
	k, err := parseTPMKey(public)
	if err == nil {
		m.keys.put(string(public), k, maxDevices)
	}
	return k, err
}

// claims decodes claims, once for each.
func (m *Memo) claims(encoded []byte) (*proto.Claims, error) {
	if m != nil {
		if c, ok := m.said.get(string(encoded)); ok {
			return c, nil
		}
	}
	c := new(proto.Claims)
	if err := proto.Decode(encoded, c); err != nil {
		return nil, err
	}
	if m != nil && len(encoded) <= maxSaid && c.Flash == nil { // the age of flash digests grows: it does not say the same
		m.said.put(string(encoded), c, maxDevices)
	}
	return c, nil
}

// generations is a map that forgets the older half when it is full.
type generations[K comparable, V any] struct {
	mu         sync.RWMutex
	young, old map[K]V
}

func (g *generations[K, V]) get(k K) (V, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	v, ok := g.young[k]
	if !ok {
		v, ok = g.old[k]
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V, size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.young == nil || len(g.young) >= size/2 {
		g.old, g.young = g.young, make(map[K]V)
	}
	g.young[k] = v
}
