package appraise

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// Majority is what most devices of a vendor, model and firmware version have in a flash region.
type Majority struct {
	Digest   []byte // SHA-256; nil: most do not agree, or too few are known
	Most, Of int    // devices that have it, of those that were looked at
}

// peers compares the regions that no reference covers with what most devices of the same model and version have: a device
// that was singled out shows, and one that lies about its flash must know what the others say. A report in which the device
// describes itself anew is not compared: it may be the first one of another version.
func (ap *appraisal) peers(v *partVerdict) {
	if ap.in.Peers == nil || ap.described != nil {
		return
	}
	for _, r := range v.open {
		m := ap.in.Peers(r.Name)
		if m.Digest == nil || bytes.Equal(m.Digest, r.Digest) {
			continue
		}
		ap.find("flash-outlier", "flash region "+r.Name,
			fmt.Sprintf("%s (%d of %d devices of this model and version)", hex.EncodeToString(m.Digest), m.Most, m.Of),
			hex.EncodeToString(r.Digest))
	}
}
