package manifest

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/manifest/corim"
	"github.com/probity-attest/probity/firmware/pcr"
)

// TestDecodeRefuses has one line for each way in which a well-formed CoRIM may not be a manifest.
func TestDecodeRefuses(t *testing.T) {
	first := func(c *corim.CoRIM) *corim.Triples { return &c.Tags[0].CoMID.Triples }
	values := func(c *corim.CoRIM) *corim.Values { return &first(c).Reference[0].Measurements[0].Values }
	flash := func(c *corim.CoRIM) *corim.Values {
		for i := range first(c).Reference {
			if r := &first(c).Reference[i]; is(r.Environment.Class.ID, &classFlash) {
				return &r.Measurements[0].Values
			}
		}
		t.Fatal("no flash region")
		return nil
	}
	field := func(key int64, value ...byte) corim.Field { return corim.Field{Key: key, Value: value} }
	for _, tt := range []struct {
		name   string
		change func(*corim.CoRIM)
		want   string
	}{
		{"nothing", func(*corim.CoRIM) {}, ""},
		{"no profile", func(c *corim.CoRIM) { c.Profile = "" }, "states none"},
		{"another version of the profile", func(c *corim.CoRIM) { c.Profile = Profile[:len(Profile)-1] + "2" }, "unknown CoRIM profile"},
		{"OID as profile", func(c *corim.CoRIM) { c.Profile = "oid:2b06" }, "unknown CoRIM profile"},
		{"UUID as id", func(c *corim.CoRIM) { c.ID.UUID = make([]byte, 16) }, "not the encoding"},
		{"dependent manifests", func(c *corim.CoRIM) { c.Extensions = append(c.Extensions, field(2, 0x80)) }, "CoRIM: field 2 is not part"},
		{"unknown extension", func(c *corim.CoRIM) { c.Extensions = append(c.Extensions, field(-3, 0)) }, "CoRIM: field -3 is not part"},
		{"text as key", func(c *corim.CoRIM) { c.Extensions = append(c.Extensions, corim.Field{Name: "x", Value: []byte{0}}) }, `field "x"`},
		{"entities", func(c *corim.CoRIM) { c.Entities = []corim.Entity{{Name: "x", Roles: []int64{1}}} }, "not the encoding"},
		{"advisory of another type", func(c *corim.CoRIM) { c.Extensions = []corim.Field{field(-2, 0)} }, "extension -2"},
		{"supersession of another type", func(c *corim.CoRIM) { c.Extensions = []corim.Field{field(-1, 0x81, 0x80)} }, "extension -1"},
		{"list of tags", func(c *corim.CoRIM) { c.Tags = append(c.Tags, corim.Tag{Number: corim.TagCoTL, Raw: []byte{0xa0}}) }, "tag 508"},
		{"two CoMIDs", func(c *corim.CoRIM) { c.Tags = append(c.Tags, c.Tags[0]) }, "want one CoMID"},
		{"no CoMID", func(c *corim.CoRIM) { c.Tags = c.Tags[1:] }, "want one CoMID"},
		{"language", func(c *corim.CoRIM) { c.Tags[0].CoMID.Language = "en" }, "not the encoding"},
		{"linked tags", func(c *corim.CoRIM) { c.Tags[0].CoMID.Others = []corim.Field{field(3, 0x80)} }, "CoMID: field 3 is not part"},
		{"another tag id", func(c *corim.CoRIM) { c.Tags[0].CoMID.ID.Text = "x" }, "not the encoding"},
		{"endorsed triples", func(c *corim.CoRIM) { first(c).Endorsed = first(c).Reference }, "endorsed triples"},
		{"other triples", func(c *corim.CoRIM) { first(c).Others = append(first(c).Others, field(2, 0x80)) }, "triples: field 2"},
		{"denied triples of another type", func(c *corim.CoRIM) { first(c).Others = []corim.Field{field(-1, 0x80)} }, "want 1 to"},
		{"environment without class", func(c *corim.CoRIM) {
			first(c).Reference[0].Environment = corim.Environment{Others: []corim.Field{field(1, 0)}}
		}, "needs a class"},
		{"instance beside the class", func(c *corim.CoRIM) { first(c).Reference[0].Environment.Others = []corim.Field{field(1, 0)} }, "nothing else"},
		{"unknown class", func(c *corim.CoRIM) {
			first(c).Reference[0].Environment.Class.ID = &corim.ClassID{Tag: corim.TagBytes, Bytes: []byte("x")}
		}, "class id 78 is not part"},
		{"another vendor in one triple", func(c *corim.CoRIM) { first(c).Reference[1].Environment.Class.Vendor = "Evil" }, `vendor "Evil"`},
		{"layer", func(c *corim.CoRIM) { n := uint64(1); first(c).Reference[0].Environment.Class.Layer = &n }, "not the encoding"},
		{"two measurements", func(c *corim.CoRIM) {
			r := &first(c).Reference[0]
			r.Measurements = append(r.Measurements, r.Measurements[0])
		}, "2 measurements"},
		{"authority", func(c *corim.CoRIM) { first(c).Reference[0].Measurements[0].Others = []corim.Field{field(2, 0x80)} }, "measurement: field 2"},
		{"raw value", func(c *corim.CoRIM) { values(c).Others = []corim.Field{field(4, 0)} }, "firmware: field 4"},
		{"version scheme", func(c *corim.CoRIM) { values(c).Version.Scheme = []byte{1} }, "not the encoding"},
		{"bare security version number", func(c *corim.CoRIM) { values(c).SVN.Bare = true }, "not the encoding"},
		{"digest by a name", func(c *corim.CoRIM) { flash(c).Digests[0] = corim.Digest{Name: "sha-256", Value: make([]byte, 32)} }, "digest algorithm"},
		{"truncated digest", func(c *corim.CoRIM) { flash(c).Digests[0].Algorithm = 2 }, "digest algorithm 2"},
		{"digest of another size", func(c *corim.CoRIM) { flash(c).Digests[0].Value = make([]byte, 31) }, "32 bytes, got 31"},
		{"region without range", func(c *corim.CoRIM) { flash(c).Others = flash(c).Others[1:] }, "are no region"},
		{"range of another type", func(c *corim.CoRIM) { flash(c).Others[0].Value = []byte{0} }, "extension -3"},
		{"excluded range without reason", func(c *corim.CoRIM) { flash(c).Others[1].Value = []byte{0x81, 0x82, 0, 1} }, "extension -4"},
		{"unknown value of a region", func(c *corim.CoRIM) { flash(c).Others = append(flash(c).Others, field(-5, 0)) }, "flash region: field -5"},
		{"triples in another order", func(c *corim.CoRIM) { r := first(c).Reference; r[0], r[1] = r[1], r[0] }, "not the encoding"},
		{"file twice", func(c *corim.CoRIM) { f := c.Tags[1].CoSWID; f.Files = append(f.Files[:1:1], f.Files...) }, "not the encoding"},
		{"relative path", func(c *corim.CoRIM) { c.Tags[1].CoSWID.Files[0].Path = "/usr/../ls" }, "absolute path"},
		{"file without hash", func(c *corim.CoRIM) { c.Tags[1].CoSWID.Files[0].Digest = corim.Digest{Algorithm: 0} }, "digest algorithm 0"},
		{"patch", func(c *corim.CoRIM) { c.Tags[1].CoSWID.Others = []corim.Field{field(9, 0xf5)} }, "not the encoding"},
		{"files that no triple links", func(c *corim.CoRIM) { first(c).CoSWIDs = nil }, "not the encoding"},
		{"version left out", func(c *corim.CoRIM) { values(c).Version = nil }, "version: missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := sample()
			m.Files = SortFiles(m.Files)
			c := m.corim()
			tt.change(c)
			b := corim.Encode(c)
			got, err := Decode(b)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var e *MalformedError
			if got != nil || err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, &e) && (e.Offset <= 0 || e.Offset >= len(b)) {
				t.Errorf("Decode = %v, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// TestDecodeRefusesEncodings has what the row on malformed manifests among the attacks names.
func TestDecodeRefusesEncodings(t *testing.T) {
	good := mustEncode(t, sample())
	at := bytes.Index(good, []byte("\x6dacme/r7/2.5.0")) // the value of key 0
	insert := func(at int, what string, cut int) []byte {
		return append(append(bytes.Clone(good[:at]), what...), good[at+cut:]...)
	}
	duplicate := insert(at-1, "\x00\x61a", 0)
	duplicate[3]++ // one pair more
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"duplicate key", duplicate, "duplicate key"},
		{"indefinite length", append(insert(3, "\xbf", 1), 0xff), "indefinite"},
		{"indefinite text", insert(at, "\x7f\x6dacme/r7/2.5.0\xff", 14), "indefinite"},
		{"longer form of a length", insert(at, "\x78\x0d", 1), "shortest form"},
		{"truncated", good[:len(good)-1], "cut off"},
		{"oversized", append(good, make([]byte, MaxSize)...), "exceed the limit"},
		{"bytes after the end", append(bytes.Clone(good), good...), "after the end"},
		{"nothing", nil, "cut off"},
	} {
		m, err := Decode(tt.b)
		var e *MalformedError
		if m != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Decode = %v, %v, want %q with an offset", tt.name, m, err, tt.want)
		}
	}
	for n := range good {
		if _, err := Decode(good[:n]); err == nil {
			t.Fatalf("decoded when cut to %d bytes", n)
		}
	}
}

// TestRules has one line for each rule of README.md, section 3. Encode and Decode share them.
func TestRules(t *testing.T) {
	short := Digests{{Algorithm: pcr.SHA256, Value: []byte{1}}}
	weak := sha1.Sum(nil)
	sha := Digests{{Algorithm: pcr.SHA1, Value: weak[:]}}
	for _, tt := range []struct {
		want   string
		change func(*Manifest)
	}{
		{"id: missing", func(m *Manifest) { m.ID = "" }},
		{"vendor: missing", func(m *Manifest) { m.Vendor = "" }},
		{"model: missing", func(m *Manifest) { m.Model = "" }},
		{"version: missing", func(m *Manifest) { m.Version = "" }},
		{"version: 257 bytes", func(m *Manifest) { m.Version = strings.Repeat("1", 257) }},
		{"not UTF-8", func(m *Manifest) { m.Vendor = "\xff" }},
		{"control characters", func(m *Manifest) { m.Model = "R\x1b7" }},
		{"no end", func(m *Manifest) { m.NotAfter = time.Time{} }},
		{"before it begins", func(m *Manifest) { m.NotAfter = m.NotBefore }},
		{"whole seconds", func(m *Manifest) { m.NotAfter = m.NotAfter.Add(1) }},
		{"without an advisory", func(m *Manifest) { m.Denied = []Denial{{Digests: both("x")}} }},
		{"reference values", func(m *Manifest) { m.Advisory = "A" }},
		{"PCR 24", func(m *Manifest) { m.PCRs[2].Index = 24 }},
		{"PCR 0", func(m *Manifest) { m.PCRs[1].Index = 0 }},
		{"PCR -1", func(m *Manifest) { m.PCRs[0].Index = -1 }},
		{"unknown coverage", func(m *Manifest) { m.PCRs[0].Coverage = 3 }},
		{"neither values nor events", func(m *Manifest) { m.PCRs[1].Coverage = Complete }},
		{"257 values", func(m *Manifest) { m.PCRs[2].Values = make([]Digests, 257) }},
		{"value 0: digests: there are none", func(m *Manifest) { m.PCRs[2].Values[0] = nil }},
		{"more than 16384 boot events", func(m *Manifest) { m.PCRs[0].Events = make([]Event, MaxEvents+1) }},
		{"slot: missing", func(m *Manifest) { m.PCRs[0].Events[0].Slot = "" }},
		{"digests: there are none", func(m *Manifest) { m.PCRs[0].Events[0].Digests = nil }},
		{"got 1", func(m *Manifest) { m.PCRs[0].Events[0].Digests = short }},
		{"no digests by sha1", func(m *Manifest) { m.PCRs[0].Events[0].Digests = sha }},
		{"ascending order", func(m *Manifest) { m.PCRs[0].Events[0].Digests = Digests{sum("a"), sum("b")} }},
		{"is there twice", func(m *Manifest) { m.PCRs[0].Events[1] = m.PCRs[0].Events[0] }},
		{"129 flash regions", func(m *Manifest) { m.Regions = make([]Region, 129) }},
		{"there are two", func(m *Manifest) { m.Regions[1].Name = "bios" }},
		{"name: missing", func(m *Manifest) { m.Regions[0].Name = "" }},
		{"are no region", func(m *Manifest) { m.Regions[0].Length = 0 }},
		{"are no region", func(m *Manifest) { m.Regions[0].Offset = 1<<64 - 1 }},
		{"do not lie in", func(m *Manifest) { m.Regions[0].Excluded[0].Length = 1 << 63 }},
		{"do not lie in", func(m *Manifest) { m.Regions[0].Excluded[1].Offset = 1<<64 - 1 }},
		{"do not lie in", func(m *Manifest) { m.Regions[0].Excluded[1].Length = 0 }},
		{"touches", func(m *Manifest) { m.Regions[0].Excluded[1].Offset = 0x1000 }},
		{"out of order", func(m *Manifest) { x := m.Regions[0].Excluded; x[0], x[1] = x[1], x[0] }},
		{"reason: missing", func(m *Manifest) { m.Regions[0].Excluded[0].Reason = "" }},
		{"65 excluded ranges", func(m *Manifest) { m.Regions[0].Excluded = make([]Range, 65) }},
		{"all of it is excluded", func(m *Manifest) { m.Regions[1].Excluded = []Range{{Length: 0x10000, Reason: "x"}} }},
		{"absolute path", func(m *Manifest) { m.Files[0].Path = "init" }},
		{"absolute path", func(m *Manifest) { m.Files[0].Path = "/" }},
		{"absolute path", func(m *Manifest) { m.Files[0].Path = "/a//b" }},
		{"absolute path", func(m *Manifest) { m.Files[0].Path = "/a/" }},
		{"not UTF-8", func(m *Manifest) { m.Files[0].Path = "/\xff" }},
		{"at most 4096", func(m *Manifest) { m.Files[0].Path = "/" + strings.Repeat("a", 4096) }},
		{"no digests by sha1", func(m *Manifest) { m.Files[0].Digest = sha[0] }},
		{"files, at most", func(m *Manifest) { m.Files = make([]File, MaxFiles+1) }},
		{"named twice", func(m *Manifest) { m.Withdraws[0].ID = m.Supersedes[0].ID }},
		{"manifest itself", func(m *Manifest) { m.Supersedes[0].ID = m.ID }},
		{"reason: missing", func(m *Manifest) { m.Withdraws[0].Reason = "" }},
		{"until: want", func(m *Manifest) { m.Supersedes[0].Until = time.Unix(0, 5) }},
		{"at most 1024", func(m *Manifest) { m.Supersedes = make([]Supersession, 1025) }},
	} {
		m := sample()
		tt.change(m)
		checkRule(t, m, tt.want)
	}
	for _, tt := range []struct {
		want   string
		change func(*Manifest)
	}{
		{"without its vendor", func(m *Manifest) { m.Vendor, m.Model = "", "R7" }},
		{"denies and withdraws nothing", func(m *Manifest) { m.Denied, m.Withdraws = nil, nil }},
		{"unknown component", func(m *Manifest) { m.Denied[0].Component = 5 }},
		{"denied entry 4", func(m *Manifest) { m.Denied[4].Digests = nil }},
		{"at most 65536", func(m *Manifest) { m.Denied = make([]Denial, MaxDenied+1) }},
		{"reference values", func(m *Manifest) { m.MinSVN = 1 }},
	} {
		m := sampleDenyList()
		tt.change(m)
		checkRule(t, m, tt.want)
	}
}

func checkRule(t *testing.T, m *Manifest, want string) {
	t.Helper()
	if b, err := Encode(m); b != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Encode = %d bytes, %v, want %q on one line", len(b), err, want)
	}
}
