package corim

import (
	"encoding/hex"
	"time"
)

// Read reads one CoRIM: tagged 501, or the same signed (tag 18), whatever its profile. The error is a *MalformedError.
func Read(b []byte) (*CoRIM, error) { return read(b, false) }

// ReadDeterministic is Read for profiles that demand the deterministic encoding: it also refuses any other encoding,
// and floating-point numbers.
func ReadDeterministic(b []byte) (*CoRIM, error) { return read(b, true) }

// ReadCoMID reads one CoMID without any tag around it.
func ReadCoMID(b []byte) (*CoMID, error) {
	r, err := open(b, false)
	if err != nil {
		return nil, err
	}
	c := r.comid()
	if r.err != nil {
		return nil, r.err
	}
	return c, nil
}

// open checks size and form of a document.
func open(b []byte, deterministic bool) (*reader, error) {
	r := &reader{b: b, deterministic: deterministic, spent: &budget{}}
	if len(b) > MaxSize {
		r.fail(MaxSize, "%d bytes exceed the limit of %d", len(b), MaxSize)
	} else {
		r.check()
	}
	if r.err != nil {
		return nil, r.err
	}
	return r, nil
}

func read(b []byte, deterministic bool) (*CoRIM, error) {
	r, err := open(b, deterministic)
	if err != nil {
		return nil, err
	}
	var s *Signed
	if n := r.want("CoRIM", majorTag); n == tagSign1 {
		s = r.signed()
		if r.err != nil {
			return nil, r.err
		}
		r = r.within(s.Payload, s.PayloadOffset)
	} else {
		r.off = 0
	}
	c := r.corim()
	if r.err != nil {
		return nil, r.err
	}
	c.Signed = s
	return c, nil
}

func (r *reader) corim() *CoRIM {
	r.tag("CoRIM", TagCoRIM)
	c := &CoRIM{}
	c.Extensions = r.fields("CoRIM", []int64{0, 1}, func(key int64) bool {
		switch key {
		case 0:
			c.ID = r.id("CoRIM id (0)")
		case 1:
			r.list("CoRIM tags (1)", 1, MaxTags, func() { c.Tags = append(c.Tags, r.tagged()) })
		case 3:
			c.Profile = r.profile()
		case 4:
			c.NotBefore, c.NotAfter = r.validity()
		case 5:
			c.Entities = r.entities("CoRIM entities (5)")
		default:
			return false
		}
		return true
	})
	return c
}

// tagged reads one tag of a CoRIM.
func (r *reader) tagged() (t Tag) {
	t.Number = r.want("CoRIM tag", majorTag)
	t.Raw = r.bytes("CoRIM tag")
	t.Offset = r.off - len(t.Raw)
	if r.err != nil {
		return t
	}
	in := r.within(t.Raw, t.Offset)
	switch t.Number {
	case TagCoMID:
		t.CoMID = in.comid()
	case TagCoSWID:
		t.CoSWID = in.coswid()
	}
	r.err = in.err
	return t
}

// id reads text or a UUID.
func (r *reader) id(what string) ID {
	if r.peek() != majorBytes {
		return ID{Text: r.text(what)}
	}
	at := r.off
	b := r.bytes(what)
	if len(b) != 16 {
		r.fail(at, "%s: want text or a UUID of 16 bytes, got %d bytes", what, len(b))
	}
	return ID{UUID: b}
}

func (r *reader) profile() string {
	at := r.off
	switch n := r.want("profile (3)", majorTag); n {
	case tagURI:
		return r.text("profile (3)")
	case TagOID:
		return "oid:" + hex.EncodeToString(r.bytes("profile (3)"))
	default:
		r.fail(at, "profile (3): want a URI (tag 32) or an OID (tag 111), got tag %d", n)
		return ""
	}
}

// validity reads a validity-map (section 7.3).
func (r *reader) validity() (notBefore, notAfter time.Time) {
	at := r.off
	others := r.fields("validity", []int64{1}, func(key int64) bool {
		switch key {
		case 0:
			notBefore = r.time("validity: not-before (0)")
		case 1:
			notAfter = r.time("validity: not-after (1)")
		default:
			return false
		}
		return true
	})
	if len(others) > 0 {
		r.fail(others[0].Offset, "validity: unknown field")
	}
	if r.err == nil && !notBefore.IsZero() && !notBefore.Before(notAfter) {
		r.fail(at, "validity: begins at %s, which is not before its end at %s", show(notBefore), show(notAfter))
	}
	return notBefore, notAfter
}

func show(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// maxTime is the last second of the year 9999.
const maxTime = 253402300799

// time reads a tagged time in whole seconds since 1970.
func (r *reader) time(what string) time.Time {
	r.tag(what, tagTime)
	return r.seconds(what)
}

func (r *reader) seconds(what string) time.Time {
	at := r.off
	n := r.int(what)
	if r.err == nil && (n <= 0 || n > maxTime) {
		r.fail(at, "%s: %d is no time from 1970 to 9999", what, n)
	}
	if r.err != nil {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func (r *reader) entities(what string) (out []Entity) {
	r.list(what, 1, maxFields, func() {
		var e Entity
		r.part(r.off)
		e.Others = r.fields(what, []int64{0, 2}, func(key int64) bool {
			switch key {
			case 0:
				e.Name = r.text(what + ": name (0)")
			case 2:
				r.list(what+": role (2)", 1, maxFields, func() { e.Roles = append(e.Roles, r.int(what+": role (2)")) })
			default:
				return false
			}
			return true
		})
		out = append(out, e)
	})
	return out
}
