package eventlog

import (
	"encoding/hex"

	"github.com/probity-attest/probity/firmware/pcr"
)

// View is a log as tools print it, in JSON. Nothing in it is verified.
type View struct {
	Events  int                          `json:"events"` // records after the Spec ID header, EV_NO_ACTION included
	Format  Format                       `json:"format"`
	Banks   []string                     `json:"banks"`
	PCRs    map[string]map[string]string `json:"pcrs"`                       // bank, PCR, replayed value
	HCRTM   map[string]string            `json:"pcr0_after_hcrtm,omitempty"` // bank, PCR 0 if a H-CRTM ran before startup
	Padding int                          `json:"padding,omitempty"`
	Entries []Entry                      `json:"entries"`
}

// Entry is one event of a View.
type Entry struct {
	Number  int               `json:"number"`
	Offset  int               `json:"offset"` // bytes
	PCR     uint32            `json:"pcr"`
	Type    string            `json:"type"`
	Slot    string            `json:"slot"`
	Digests map[string]string `json:"digests"` // by bank, hexadecimal
	Size    int               `json:"size"`    // of the data in bytes
	Bound   bool              `json:"bound"`   // the data hashes to a digest of the event, see DataMatches
	Description
}

// View decodes the whole log for tools. It costs far more than Parse or Verify.
func (l *Log) View() View {
	v := View{
		Events: len(l.Events), Format: l.Format, Padding: l.Padding,
		PCRs: map[string]map[string]string{}, Entries: make([]Entry, len(l.Events)),
	}
	for _, a := range l.Banks {
		v.Banks = append(v.Banks, a.String())
		if b, err := l.Replay(a); err == nil {
			v.PCRs[a.String()] = b.Strings()
		}
		if value := l.ReplayHCRTM(a); value != nil {
			if v.HCRTM == nil {
				v.HCRTM = map[string]string{}
			}
			v.HCRTM[a.String()] = hex.EncodeToString(value)
		}
	}
	for i := range l.Events {
		v.Entries[i] = l.Events[i].view(l.Banks)
	}
	return v
}

func (e *Event) view(banks []pcr.Algorithm) Entry {
	digests := make(map[string]string, len(banks))
	for _, a := range banks {
		if d := e.Digest(a); d != nil {
			digests[a.String()] = hex.EncodeToString(d)
		}
	}
	return Entry{
		Number: e.Number, Offset: e.Offset, PCR: e.PCR, Type: e.Type.String(), Slot: e.Slot(), Digests: digests,
		Size: len(e.Data), Bound: e.matchesAny(), Description: e.Describe(),
	}
}
