package appraise

import (
	"crypto/sha256"
	"sync"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// Memo remembers what followed from a boot log, PCR values, references and policy, so that an unchanged device costs a
// look-up. It never changes an outcome: a key names everything that the value depends on. It is safe for concurrent use
// and bounded: when full, the older half goes.
type Memo struct {
	mu         sync.RWMutex
	young, old map[memoKey]*bootVerdict
}

const memoSize = 4096

type memoKey struct {
	log   proto.Digest // zero: no log
	pcrs  [sha256.Size]byte
	bank  pcr.Algorithm
	basis string
}

func (m *Memo) get(k memoKey) *bootVerdict {
	if m == nil {
		return nil
	}
	m.mu.RLock()
	v, ok := m.young[k]
	if !ok {
		v = m.old[k]
	}
	m.mu.RUnlock()
	return v
}

func (m *Memo) put(k memoKey, v *bootVerdict) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young == nil || len(m.young) >= memoSize/2 {
		m.old, m.young = m.young, make(map[memoKey]*bootVerdict)
	}
	m.young[k] = v
}
