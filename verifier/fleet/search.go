package fleet

import (
	"context"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/store"
)

// Kinds of what is searched for.
const (
	kindDigest   = "digest"
	kindGUID     = "guid"
	kindFile     = "file"
	kindAdvisory = "advisory"
	kindText     = "text"
)

// search is one run of Search.
type search struct {
	f      *Fleet
	tenant string
	text   string // as it was asked for, without space around it
	kind   string
	digest []byte // of a digest or GUID
	denied []DeniedEntry
	out    v1.Search
}

// advisoryID is the form of the ids that are known everywhere.
var advisoryID = regexp.MustCompile(`(?i)^(CVE-[0-9]{4}-[0-9]{4,}|GHSA(-[0-9a-z]{4}){3})$`)

// fileName is a name with a folder, or with an extension that begins with a letter.
var fileName = regexp.MustCompile(`[/\\]|\S\.[A-Za-z][A-Za-z0-9]{0,7}$`)

// Search finds everything that a digest, file name or part of one, EFI GUID, advisory or other text occurs in: devices
// that ever had it, manifests, baselines, deny-lists. after is Next of the page before; pages after the first have
// devices only. Of an advisory, devices are those that ever had what it denies.
func (f *Fleet) Search(ctx context.Context, tenant, query, after string, limit int) (v1.Search, error) {
	s := &search{f: f, tenant: tenant, text: strings.TrimSpace(query)}
	if n := utf8.RuneCountInString(s.text); n < store.MinSeenPlace || len(s.text) > maxQuery || clean(s.text, maxQuery) != s.text {
		return v1.Search{}, refuse("search: want %d to %d characters that print", store.MinSeenPlace, maxQuery)
	}
	var err error
	if s.denied, err = f.DenyList(ctx, tenant); err != nil {
		return v1.Search{}, err
	}
	s.classify()
	s.out = v1.Search{Query: s.text, Kind: s.kind, Hits: []v1.Hit{}}
	if after == "" {
		if err := s.documents(ctx); err != nil {
			return v1.Search{}, err
		}
	}
	if q := s.query(); q != nil {
		if err := s.devices(ctx, q, after, limit); err != nil {
			return v1.Search{}, err
		}
	}
	return s.out, nil
}

// classify finds out what the query is.
func (s *search) classify() {
	advisory := func(e DeniedEntry) bool { return strings.EqualFold(e.Advisory, s.text) }
	guid, isGUID := parseGUID(s.text)
	digest, err := ParseDigest(s.text)
	switch {
	case err == nil:
		s.kind, s.digest = kindDigest, digest
	case isGUID:
		s.kind, s.digest = kindGUID, guid
	case slices.ContainsFunc(s.denied, advisory), advisoryID.MatchString(s.text):
		s.kind = kindAdvisory
	case fileName.MatchString(s.text):
		s.kind = kindFile
	default:
		s.kind = kindText
	}
}

// query returns what devices are looked for by, nil where there is nothing.
func (s *search) query() *store.SeenQuery {
	switch s.kind {
	case kindDigest:
		return &store.SeenQuery{Digests: [][]byte{s.digest}}
	case kindGUID:
		return &store.SeenQuery{GUID: s.digest}
	case kindFile, kindText:
		return &store.SeenQuery{Place: s.text}
	}
	var q store.SeenQuery
	for i := range s.denied {
		if !strings.EqualFold(s.denied[i].Advisory, s.text) {
			continue
		}
		for _, d := range s.denied[i].Digests {
			if len(q.Digests) == store.MaxSeenDigests {
				s.out.More = true
				return &q
			}
			q.Digests = append(q.Digests, d.Value)
		}
	}
	if len(q.Digests) == 0 {
		return nil
	}
	return &q
}

// documents finds manifests, baselines and deny-lists.
func (s *search) documents(ctx context.Context) error {
	s.denials()
	if err := s.manifests(ctx); err != nil {
		return err
	}
	set, err := s.f.references.set(ctx, s.tenant)
	if err != nil {
		return err
	}
	var found []reference.Mention
	if s.kind == kindDigest {
		found = set.Mentions(s.digest)
	} else {
		found = set.Named(s.text)
	}
	for _, m := range found {
		hit := v1.Hit{Kind: string(m.Kind), Object: m.Document, Name: m.State, Place: andMore(clean(m.Place, maxPlace), m.Others)}
		if m.Digest != nil {
			hit.Digest = hex.EncodeToString(m.Digest)
		}
		same := func(h v1.Hit) bool { return h.Kind == hit.Kind && h.Object == hit.Object }
		if !slices.ContainsFunc(s.out.Hits, same) {
			s.add(hit)
		}
	}
	return nil
}

// add tells of a hit that is not a device.
func (s *search) add(h v1.Hit) {
	if len(s.out.Hits) == maxMentions {
		s.out.More = true
		return
	}
	s.out.Hits = append(s.out.Hits, h)
}

func andMore(place string, others int) string {
	switch others {
	case 0:
		return place
	case 1:
		return place + " and 1 more place"
	}
	return fmt.Sprintf("%s and %d more places", place, others)
}

// denials finds entries of the deny-list: by digest, or by advisory, note and issuer.
func (s *search) denials() {
	for i := range s.denied {
		e := &s.denied[i]
		hit := v1.Hit{Kind: "denylist", Object: e.Advisory, Name: e.Issuer, Place: e.Component.String()}
		if e.Note != "" {
			hit.Place += ": " + e.Note
		}
		if len(e.Digests) > 0 {
			hit.Digest = hex.EncodeToString(e.Digests[0].Value)
		}
		fits := contains(s.text, e.Advisory, e.Note, e.Issuer, e.Manifest)
		for _, d := range e.Digests {
			if s.kind == kindDigest && string(d.Value) == string(s.digest) {
				fits, hit.Digest = true, hex.EncodeToString(d.Value)
			}
		}
		if fits {
			s.add(hit)
		}
	}
}

// manifests finds manifests and deny-lists by what they are called, also those of which nothing counts.
func (s *search) manifests(ctx context.Context) error {
	all, err := s.f.cfg.Store.Manifests(ctx, s.tenant)
	if err != nil {
		return err
	}
	now := s.f.cfg.Now()
	for i := range all {
		m := &all[i]
		place := ""
		switch {
		case s.kind == kindDigest && m.Digest == hex.EncodeToString(s.digest):
			place = "digest of the manifest"
		case contains(s.text, m.Name):
			place = "its name"
		case contains(s.text, m.Advisory):
			place = "advisory " + m.Advisory
		case contains(s.text, m.Vendor, m.Model, m.Version, m.Vendor+" "+m.Model+" "+m.Version):
			place = strings.Join(strings.Fields(m.Vendor+" "+m.Model+" "+m.Version), " ")
		default:
			continue
		}
		s.add(v1.Hit{Kind: "manifest", Object: m.Name, Name: string(m.State(now)), Place: clean(place, maxPlace)})
	}
	return nil
}

// contains reports whether one of several texts has a part, whatever the case.
func contains(part string, texts ...string) bool {
	part = strings.ToLower(part)
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), part) })
}

// devices finds devices by what they were seen with.
func (s *search) devices(ctx context.Context, q *store.SeenQuery, after string, limit int) error {
	page, err := s.f.cfg.Store.FindSeen(ctx, s.tenant, *q, after, limit)
	if err != nil {
		return err
	}
	for i := range page.Found {
		o := &page.Found[i]
		first := o.First.UTC()
		hit := v1.Hit{
			Kind: "device", Object: o.Device, Name: o.Label, Place: andMore(o.Place, o.Others), Digest: hex.EncodeToString(o.Digest),
			First: &first,
		}
		if !o.Until.IsZero() {
			until := o.Until.UTC()
			hit.Until = &until
		}
		s.out.Hits = append(s.out.Hits, hit)
	}
	s.out.Next, s.out.More = page.Next, s.out.More || page.Partial
	n, err := s.f.cfg.Store.CountSeen(ctx, s.tenant, *q)
	if err != nil {
		return err
	}
	s.out.Devices, s.out.Now = n.Devices, n.Now
	s.out.More = s.out.More || n.Partial
	return nil
}
