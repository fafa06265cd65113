package appraise

import (
	"bytes"
	"encoding/hex"

	"github.com/probity-attest/probity/verifier/result"
)

// maxSeen bounds the flash regions without reference that a record carries along.
const maxSeen = 32

// changes compares the regions that no reference covers with what the device said of them before, and remembers them. A
// change is told until reference values cover the region. What the device leaves out for a while is not forgotten.
func (ap *appraisal) changes(v *partVerdict) {
	was := ap.in.Record.Seen
	if len(v.open) == 0 && len(was) == 0 {
		return
	}
	known := make(map[string]*seenRegion, len(was))
	for i := range was {
		known[was[i].Name] = &was[i]
	}
	for _, now := range v.open {
		before := known[now.Name]
		delete(known, now.Name)
		switch {
		case before == nil:
		case bytes.Equal(before.Digest, now.Digest):
			now.Was = before.Was
		default:
			now.Was = before.Digest
		}
		if now.Was != nil {
			f := finding("flash-differs", "flash region "+now.Name, hex.EncodeToString(now.Was)+" (before)", hex.EncodeToString(now.Digest))
			if ap.in.Policy.Flash == Required {
				f.Severity = result.Warn
			}
			ap.found = append(ap.found, f)
		}
		ap.seen(now)
	}
	for i := range was {
		covered := v.reference != nil && v.reference.Region(was[i].Name) != nil
		if known[was[i].Name] != nil && !covered {
			ap.seen(was[i])
		}
	}
}

func (ap *appraisal) seen(r seenRegion) {
	if len(ap.next.Seen) < maxSeen {
		ap.next.Seen = append(ap.next.Seen, r)
	}
}
