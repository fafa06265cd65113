package appraise

import (
	"crypto/sha256"
	"sync"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// Memo remembers what followed from a boot log, PCR values, references and policy, and the attestation keys and claims that
// were parsed, so that an unchanged device costs look-ups. It never changes an outcome: a key names everything that the value
// depends on. It is safe for concurrent use and bounded: when full, the older half goes.
type Memo struct {
	boots generations[memoKey, *bootVerdict]
	keys  generations[string, attestationKey] // by TPMT_PUBLIC
	said  generations[string, *proto.Claims]  // by their encoding: a device says the same until it boots
}

// Sizes of a memo: a boot is shared by all devices of a model and state, keys and claims belong to one device.
const (
	maxBoots   = 4096
	maxDevices = 32768
	// maxSaid is the longest encoding of claims that is remembered, in bytes; a device may send longer ones.
	maxSaid = 512
)

type memoKey struct {
	log   proto.Digest // zero: no log
	pcrs  [sha256.Size]byte
	bank  pcr.Algorithm
	basis string
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
	if m != nil && len(encoded) <= maxSaid {
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
