package corim

func (w *writer) comid(c *CoMID) {
	entries := []entry{
		{1, func() { w.tagIdentity(c) }},
		{4, func() { w.triples(&c.Triples) }},
	}
	if c.Language != "" {
		entries = append(entries, entry{0, func() { w.text(c.Language) }})
	}
	if len(c.Entities) > 0 {
		entries = append(entries, entry{2, func() { array(w, c.Entities, w.entity) }})
	}
	w.object(entries, c.Others)
}

func (w *writer) tagIdentity(c *CoMID) {
	entries := []entry{{0, func() { w.id(c.ID) }}}
	if c.Version > 0 { // 0 is the default (section 5.1.1.2)
		entries = append(entries, entry{1, func() { w.uint(c.Version) }})
	}
	w.object(entries, nil)
}

func (w *writer) triples(t *Triples) {
	var entries []entry
	if len(t.Reference) > 0 {
		entries = append(entries, entry{0, func() { array(w, t.Reference, w.triple) }})
	}
	if len(t.Endorsed) > 0 {
		entries = append(entries, entry{1, func() { array(w, t.Endorsed, w.triple) }})
	}
	if len(t.CoSWIDs) > 0 {
		entries = append(entries, entry{6, func() { array(w, t.CoSWIDs, w.coswidTriple) }})
	}
	w.object(entries, t.Others)
}

// TriplesField is the inverse of Field.Triples.
func TriplesField(key int64, list []Triple) Field {
	w := &writer{}
	array(w, list, w.triple)
	return Field{Key: key, Value: w.b}
}

func (w *writer) triple(t *Triple) {
	w.head(majorArray, 2)
	w.environment(&t.Environment)
	array(w, t.Measurements, w.measurement)
}

func (w *writer) coswidTriple(t *CoSWIDTriple) {
	w.head(majorArray, 2)
	w.environment(&t.Environment)
	array(w, t.IDs, func(i *ID) { w.id(*i) })
}

func (w *writer) environment(e *Environment) {
	var entries []entry
	if e.Class != nil {
		entries = append(entries, entry{0, func() { w.class(e.Class) }})
	}
	w.object(entries, e.Others)
}

func (w *writer) class(c *Class) {
	var entries []entry
	if c.ID != nil {
		entries = append(entries, entry{0, func() { w.classID(c.ID) }})
	}
	if c.Vendor != "" {
		entries = append(entries, entry{1, func() { w.text(c.Vendor) }})
	}
	if c.Model != "" {
		entries = append(entries, entry{2, func() { w.text(c.Model) }})
	}
	if c.Layer != nil {
		entries = append(entries, entry{3, func() { w.uint(*c.Layer) }})
	}
	if c.Index != nil {
		entries = append(entries, entry{4, func() { w.uint(*c.Index) }})
	}
	w.object(entries, nil)
}

func (w *writer) classID(c *ClassID) {
	w.tag(c.Tag)
	w.bytes(c.Bytes)
}

func (w *writer) measurement(m *Measurement) {
	entries := []entry{{1, func() { w.values(&m.Values) }}}
	if m.Key != nil {
		entries = append(entries, entry{0, func() { w.key(m.Key) }})
	}
	w.object(entries, m.Others)
}

func (w *writer) key(k *Key) {
	switch {
	case k.ID != nil:
		w.classID(k.ID)
	case k.Text != "":
		w.text(k.Text)
	default:
		w.uint(k.Number)
	}
}

func (w *writer) values(v *Values) {
	var entries []entry
	if v.Version != nil {
		entries = append(entries, entry{0, func() { w.version(v.Version) }})
	}
	if v.SVN != nil {
		entries = append(entries, entry{1, func() { w.svn(v.SVN) }})
	}
	if len(v.Digests) > 0 {
		entries = append(entries, entry{2, func() { array(w, v.Digests, w.digest) }})
	}
	if v.Name != "" {
		entries = append(entries, entry{11, func() { w.text(v.Name) }})
	}
	if len(v.Registers) > 0 {
		entries = append(entries, entry{14, func() { w.registers(v.Registers) }})
	}
	w.object(entries, v.Others)
}

func (w *writer) version(v *Version) {
	entries := []entry{{0, func() { w.text(v.Text) }}}
	if v.Scheme != nil {
		entries = append(entries, entry{1, func() { w.b = append(w.b, v.Scheme...) }})
	}
	w.object(entries, nil)
}

func (w *writer) svn(s *SVN) {
	switch {
	case s.Bare:
	case s.Minimum:
		w.tag(tagMinSVN)
	default:
		w.tag(tagSVN)
	}
	w.uint(s.Number)
}

func (w *writer) digest(d *Digest) {
	w.head(majorArray, 2)
	if d.Name != "" {
		w.text(d.Name)
	} else {
		w.int(d.Algorithm)
	}
	w.bytes(d.Value)
}

// registers writes integrity registers in the order given, which must be that of their encoded identifiers.
func (w *writer) registers(list []Register) {
	w.head(majorMap, uint64(len(list)))
	for _, g := range list {
		if g.Name != "" {
			w.text(g.Name)
		} else {
			w.uint(g.Number)
		}
		array(w, g.Digests, w.digest)
	}
}
