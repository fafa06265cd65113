package corim

func (r *reader) comid() *CoMID {
	c := &CoMID{}
	c.Others = r.fields("CoMID", []int64{1, 4}, func(key int64) bool {
		switch key {
		case 0:
			c.Language = r.text("CoMID language (0)")
		case 1:
			r.tagIdentity(c)
		case 2:
			c.Entities = r.entities("CoMID entities (2)")
		case 4:
			c.Triples = r.triples()
		default:
			return false
		}
		return true
	})
	return c
}

// tagIdentity reads a tag-identity-map (section 5.1.1).
func (r *reader) tagIdentity(c *CoMID) {
	others := r.fields("tag identity (1)", []int64{0}, func(key int64) bool {
		switch key {
		case 0:
			c.ID = r.id("tag id (0)")
		case 1:
			c.Version = r.uint("tag version (1)")
		default:
			return false
		}
		return true
	})
	if len(others) > 0 {
		r.fail(others[0].Offset, "tag identity (1): unknown field")
	}
}

func (r *reader) triples() (t Triples) {
	at := r.off
	t.Others = r.fields("triples (4)", nil, func(key int64) bool {
		switch key {
		case 0:
			t.Reference = r.tripleList("reference triples (0)")
		case 1:
			t.Endorsed = r.tripleList("endorsed triples (1)")
		case 6:
			r.list("CoSWID triples (6)", 1, MaxElements, func() { t.CoSWIDs = append(t.CoSWIDs, r.coswidTriple()) })
		default:
			return false
		}
		return true
	})
	if t.Reference == nil && t.Endorsed == nil && t.CoSWIDs == nil && t.Others == nil {
		r.fail(at, "triples (4): there are none")
	}
	return t
}

// Triples reads a field as a list of triples, for profiles that define kinds of their own in a triples-map. The field's
// value must have been read by this package.
func (f Field) Triples() ([]Triple, error) {
	r := &reader{b: f.Value, spent: &budget{}}
	r.check()
	out := r.tripleList("triples")
	if r.err != nil {
		r.err.Offset += f.Offset
		return nil, r.err
	}
	for i := range out {
		out[i].Offset += f.Offset
	}
	return out, nil
}

func (r *reader) tripleList(what string) (out []Triple) {
	r.list(what, 1, MaxElements, func() { out = append(out, r.triple(what)) })
	return out
}

func (r *reader) triple(what string) (t Triple) {
	t.Offset = r.off
	r.part(t.Offset)
	r.exactly(what, 2)
	t.Environment = r.environment()
	r.list(what+": measurements", 1, MaxElements, func() { t.Measurements = append(t.Measurements, r.measurement()) })
	return t
}

func (r *reader) coswidTriple() (t CoSWIDTriple) {
	r.part(r.off)
	r.exactly("CoSWID triple", 2)
	t.Environment = r.environment()
	r.list("CoSWID triple: tags", 1, MaxElements, func() {
		r.part(r.off)
		t.IDs = append(t.IDs, r.id("CoSWID triple: tag"))
	})
	return t
}

// exactly reads the head of an array of n elements.
func (r *reader) exactly(what string, n uint64) {
	at := r.off
	if got := r.want(what, majorArray); r.err == nil && got != n {
		r.fail(at, "%s: want an array of %d elements, got %d", what, n, got)
	}
}

func (r *reader) environment() (e Environment) {
	at := r.off
	e.Others = r.fields("environment", nil, func(key int64) bool {
		if key != 0 {
			return false
		}
		e.Class = r.class()
		return true
	})
	if e.Class == nil && e.Others == nil {
		r.fail(at, "environment: the map is empty")
	}
	return e
}

func (r *reader) class() *Class {
	at := r.off
	c := &Class{}
	var known int
	others := r.fields("class (0)", nil, func(key int64) bool {
		known++
		switch key {
		case 0:
			id := r.classID("class id (0)")
			c.ID = &id
		case 1:
			c.Vendor = r.text("vendor (1)")
		case 2:
			c.Model = r.text("model (2)")
		case 3:
			n := r.uint("layer (3)")
			c.Layer = &n
		case 4:
			n := r.uint("index (4)")
			c.Index = &n
		default:
			return false
		}
		return true
	})
	if known == 0 {
		r.fail(at, "class (0): the map is empty")
	}
	if len(others) > 0 {
		r.fail(others[0].Offset, "class (0): unknown field %d", others[0].Key)
	}
	return c
}

func (r *reader) classID(what string) (c ClassID) {
	at := r.off
	c.Tag = r.want(what, majorTag)
	c.Bytes = r.bytes(what)
	switch {
	case r.err != nil:
	case c.Tag != TagUUID && c.Tag != TagOID && c.Tag != TagBytes:
		r.fail(at, "%s: want tag 37 (UUID), 111 (OID) or 560 (bytes), got %d", what, c.Tag)
	case c.Tag == TagUUID && len(c.Bytes) != 16:
		r.fail(at, "%s: a UUID has 16 bytes, got %d", what, len(c.Bytes))
	}
	return c
}

func (r *reader) measurement() (m Measurement) {
	m.Offset = r.off
	r.part(m.Offset)
	m.Others = r.fields("measurement", []int64{1}, func(key int64) bool {
		switch key {
		case 0:
			m.Key = r.key()
		case 1:
			m.Values = r.values()
		default:
			return false
		}
		return true
	})
	return m
}

func (r *reader) key() *Key {
	at := r.off
	switch r.peek() {
	case majorTag:
		id := r.classID("measured element (0)")
		if id.Tag == TagBytes {
			r.fail(at, "measured element (0): want tag 37 (UUID) or 111 (OID), got %d", id.Tag)
		}
		return &Key{ID: &id}
	case majorText:
		k := &Key{Text: r.text("measured element (0)")}
		if k.Text == "" {
			r.fail(at, "measured element (0): empty text")
		}
		return k
	}
	return &Key{Number: r.uint("measured element (0)")}
}

func (r *reader) values() (v Values) {
	at := r.off
	known := 0
	v.Others = r.fields("measurement values (1)", nil, func(key int64) bool {
		known++
		switch key {
		case 0:
			v.Version = r.version()
		case 1:
			v.SVN = r.svn()
		case 2:
			v.Digests = r.digests("digests (2)")
		case 11:
			v.Name = r.text("name (11)")
		case 14:
			v.Registers = r.registers()
		default:
			return false
		}
		return true
	})
	if known == 0 {
		r.fail(at, "measurement values (1): the map is empty")
	}
	return v
}

func (r *reader) version() *Version {
	v := &Version{}
	others := r.fields("version (0)", []int64{0}, func(key int64) bool {
		switch key {
		case 0:
			v.Text = r.text("version (0)")
		case 1:
			v.Scheme = r.raw()
		default:
			return false
		}
		return true
	})
	if len(others) > 0 {
		r.fail(others[0].Offset, "version (0): unknown field")
	}
	return v
}

func (r *reader) svn() *SVN {
	if r.peek() != majorTag {
		return &SVN{Number: r.uint("security version number (1)"), Bare: true}
	}
	at := r.off
	n := r.want("security version number (1)", majorTag)
	if n != tagSVN && n != tagMinSVN {
		r.fail(at, "security version number (1): want tag 552 or 553, got %d", n)
	}
	return &SVN{Number: r.uint("security version number (1)"), Minimum: n == tagMinSVN}
}

// digests reads a digests-type, in which an algorithm may stand once (section 7.7).
func (r *reader) digests(what string) (out []Digest) {
	r.list(what, 1, maxDigests, func() {
		at := r.off
		r.part(at)
		d := r.digest(what)
		for _, o := range out {
			if o.Algorithm == d.Algorithm && o.Name == d.Name {
				r.fail(at, "%s: second digest of one algorithm: alternatives go into separate triples", what)
			}
		}
		out = append(out, d)
	})
	return out
}

// digest reads one [algorithm, value].
func (r *reader) digest(what string) (d Digest) {
	r.exactly(what, 2)
	if r.peek() == majorText {
		at := r.off
		if d.Name = r.text(what + ": algorithm"); d.Name == "" {
			r.fail(at, "%s: algorithm without a name", what)
		}
	} else {
		d.Algorithm = r.int(what + ": algorithm")
	}
	d.Value = r.bytes(what)
	return d
}

func (r *reader) registers() (out []Register) {
	at := r.off
	n := r.want("integrity registers (14)", majorMap)
	if r.err == nil && n == 0 {
		r.fail(at, "integrity registers (14): the map is empty")
	}
	for ; n > 0 && r.err == nil; n-- {
		var g Register
		r.part(r.off)
		if r.peek() == majorText {
			at := r.off
			if g.Name = r.text("integrity register"); g.Name == "" {
				r.fail(at, "integrity register without a name")
			}
		} else {
			g.Number = r.uint("integrity register")
		}
		g.Digests = r.digests("integrity register")
		out = append(out, g)
	}
	return out
}
