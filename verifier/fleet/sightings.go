package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/store"
)

// indexed remembers contents that the store knows the digests of, in bounded memory.
type indexed struct {
	mu         sync.Mutex
	young, old map[[32]byte]bool
}

func (x *indexed) has(content [32]byte) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.young[content] || x.old[content]
}

func (x *indexed) add(content [32]byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.young == nil || len(x.young) >= maxWaiting {
		x.old, x.young = x.young, make(map[[32]byte]bool)
	}
	x.young[content] = true
}

// seen returns what evidence refers to, with the digests of what the store doesn't know yet.
func (f *Fleet) seen(ctx context.Context, claimed *appraise.Claimed, out *appraise.Outcome) ([]store.Seen, error) {
	return f.seenBut(ctx, claimed, out, f.indexed.has)
}

// seenBut is seen without the digests of contents that are known.
func (f *Fleet) seenBut(
	ctx context.Context, claimed *appraise.Claimed, out *appraise.Outcome, has func(content [32]byte) bool,
) ([]store.Seen, error) {
	group := fold(out.Record.Vendor) + "\x00" + fold(out.Record.Model)
	var list []store.Seen
	add := func(kind string, content [32]byte, fill func(*store.Seen) error) error {
		s := store.Seen{Content: content, Kind: kind, Group: group}
		if !has(content) {
			known, err := f.cfg.Store.Indexed(ctx, content)
			if err == nil && !known {
				err = fill(&s)
			}
			if err != nil {
				return fmt.Errorf("indexing what was seen: %w", err)
			}
		}
		list = append(list, s)
		return nil
	}
	stored := func(kind string, c *proto.Content, parse func([]byte) []store.SeenDigest) error {
		if c == nil || c.Size == 0 {
			return nil
		}
		return add(kind, c.Digest, func(s *store.Seen) error {
			b, err := f.cfg.Store.Content(ctx, c.Digest)
			if errors.Is(err, store.ErrNotFound) { // the policy didn't look at it, so nobody asked for it
				return nil
			}
			if err != nil {
				return err
			}
			if s.Digests = parse(b); kind == store.SeenBoot {
				s.GUIDs = logGUIDs(b)
			}
			return nil
		})
	}
	c := claimed.Claims
	err := stored(store.SeenBoot, c.BootLog.Content, logDigests)
	if s := claimed.Evidence.IMA; s != nil && err == nil {
		err = stored(store.SeenFiles, &s.Part, fileDigests)
	}
	if c.Flash != nil && err == nil {
		err = stored(store.SeenFlash, c.Flash.Regions.Content, flashDigests)
	}
	if values := valueDigests(out.Result.PCRs); len(values) > 0 && err == nil {
		err = add(store.SeenPCRs, valuesID(out.Result.Bank, values), func(s *store.Seen) error {
			s.Digests = values
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// recorded notes that the store knows the digests of what was seen.
func (f *Fleet) recorded(list []store.Seen) {
	for i := range list {
		f.indexed.add(list[i].Content)
	}
}

// logDigests returns the digests of a boot log in all banks that carry trust. A log that is none has no digests.
func logDigests(raw []byte) []store.SeenDigest {
	log, err := eventlog.Parse(raw)
	if err != nil {
		return nil
	}
	var out []store.SeenDigest
	for i := range log.Events {
		e := &log.Events[i]
		if !e.Extends() {
			continue
		}
		place := eventPlace(e)
		for _, a := range log.Banks {
			if d := e.Digest(a); a.Trusted() && d != nil {
				out = append(out, store.SeenDigest{Digest: d, Place: place})
			}
		}
	}
	return out
}

// guidText is the text of a GUID (RFC 9562, section 4).
var guidText = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)

// logGUIDs returns the GUIDs that the events of a boot log name: of variables, firmware files and volumes, tables,
// partitions and signature owners.
func logGUIDs(raw []byte) []store.SeenDigest {
	log, err := eventlog.Parse(raw)
	if err != nil {
		return nil
	}
	var out []store.SeenDigest
	known := make(map[string]bool)
	for i := range log.Events {
		e := &log.Events[i]
		if !e.Extends() {
			continue
		}
		text, err := json.Marshal(e.Describe())
		if err != nil {
			continue
		}
		for _, s := range guidText.FindAllString(strings.ToLower(string(text)), -1) {
			guid, ok := parseGUID(s)
			if !ok || known[string(guid)] {
				continue
			}
			if known[string(guid)] = true; len(out) == maxGUIDs {
				return out
			}
			out = append(out, store.SeenDigest{Digest: guid, Place: eventPlace(e)})
		}
	}
	return out
}

// parseGUID reads the text of a GUID, in any case, with or without braces.
func parseGUID(s string) ([]byte, bool) {
	s = strings.ToLower(strings.Trim(s, "{}"))
	if guidText.FindString(s) != s || s == "" {
		return nil, false
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	return b, err == nil
}

// eventPlace names an event for people.
func eventPlace(e *eventlog.Event) string {
	return clean(fmt.Sprintf("PCR %d, %s", e.PCR, e.Describe()), maxPlace)
}

// fileDigests returns the digests of the files of an IMA list.
func fileDigests(list []byte) []store.SeenDigest {
	var out []store.SeenDigest
	for s := ima.NewScanner(list); s.Scan(); {
		e := s.Entry()
		file, ok := e.File()
		if !ok || e.Violation() || file.Path == ima.BootAggregatePath || len(file.Digest) < sha256.Size {
			continue
		}
		out = append(out, store.SeenDigest{Digest: slices.Clone(file.Digest), Place: clean("file "+file.Path, maxPlace)})
	}
	return out
}

// regionPlace begins the place of a flash region's digest.
const regionPlace = "flash region "

// flashDigests returns the digests of flash regions.
func flashDigests(raw []byte) []store.SeenDigest {
	var m proto.Flash
	if proto.Decode(raw, &m) != nil {
		return nil
	}
	var out []store.SeenDigest
	for i := range m.Regions {
		if r := &m.Regions[i]; r.Unavailable == nil {
			out = append(out, store.SeenDigest{Digest: r.Digest, Place: clean(regionPlace+r.Name, maxPlace)})
		}
	}
	return out
}

// valueDigests returns the PCR values of a boot, in ascending index: those of IMA's PCR change all the time.
func valueDigests(values map[string]string) []store.SeenDigest {
	var out []store.SeenDigest
	for i := range pcr.Count {
		if i == ima.PCR {
			continue
		}
		value, err := hex.DecodeString(values[strconv.Itoa(i)])
		if err == nil && len(value) >= sha256.Size && slices.ContainsFunc(value, func(b byte) bool { return b != 0 && b != 0xff }) {
			out = append(out, store.SeenDigest{Digest: value, Place: "PCR " + strconv.Itoa(i)})
		}
	}
	return out
}

// valuesID names a set of PCR values.
func valuesID(bank string, values []store.SeenDigest) (id [32]byte) {
	h := sha256.New()
	h.Write([]byte("probity/v1/pcrs " + bank + "\n"))
	for _, v := range values {
		h.Write([]byte(v.Place + "\n"))
		h.Write(v.Digest)
	}
	h.Sum(id[:0])
	return id
}
