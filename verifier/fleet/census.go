package fleet

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/store"
)

// census counts what the devices of a group measure. A component is a boot event's slot, a PCR that no log explains, a
// flash region or a file; a device may have several measurements of one, which then count together.
type census struct {
	group      OutlierGroup
	components map[string]*component
	kinds      map[string]int // devices that were asked about a kind of component
	parsed     map[proto.Digest]map[string]string
	missing    map[string]*holders // of components that few lack: those devices
	values     int
	full       bool // so many different values that new ones are left out
}

// component is one thing that devices may have.
type component struct {
	kind   string
	values map[string]*holders
	have   int // devices
}

// holders are the devices that have a value.
type holders struct {
	count   int
	devices []OutlierDevice // the first ones
}

// add notes a device. Of a value that so many have that it is hardly an outlier no devices are kept.
func (h *holders) add(who OutlierDevice) {
	h.count++
	switch {
	case h.count <= maxOutlierDevices:
		h.devices = append(h.devices, who)
	case h.count > maxOutlierDevices*outlierShare:
		h.devices = nil
	}
}

func newCensus(d *store.Device) *census {
	return &census{
		group:      OutlierGroup{Vendor: d.Vendor, Model: d.Model, Firmware: d.Firmware},
		components: make(map[string]*component), kinds: make(map[string]int), parsed: make(map[proto.Digest]map[string]string),
	}
}

func merge(into, from map[string]string) {
	for name, value := range from {
		if was, ok := into[name]; ok && !strings.Contains(was, value) {
			value = joinValues(append(strings.Split(was, " "), value))
		}
		into[name] = value
	}
}

// joinValues makes one value of several measurements of a component: their order differs between devices without
// meaning.
func joinValues(list []string) string {
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

// bootComponents returns the measurements of a boot log by PCR and slot.
func bootComponents(raw []byte, bank pcr.Algorithm) map[string]string {
	log, err := eventlog.Parse(raw)
	if err != nil {
		return nil
	}
	all := make(map[string][]string)
	for i := range log.Events {
		e := &log.Events[i]
		if d := e.Digest(bank); e.Extends() && d != nil {
			name := clean(fmt.Sprintf("PCR %d, %s", e.PCR, e.Slot()), maxPlace)
			all[name] = append(all[name], hex.EncodeToString(d))
		}
	}
	out := make(map[string]string, len(all))
	for name, list := range all {
		if len(list) <= maxTogether {
			out[name] = joinValues(list)
			continue
		}
		for _, d := range list { // such as commands of a boot loader: each is a component of its own
			out[name+" "+d[:min(len(d), 16)]] = d
		}
	}
	return out
}

// pcrComponents returns PCR values, of a device without boot log.
func pcrComponents(values map[string]string) map[string]string {
	out := make(map[string]string)
	for name, value := range values {
		if name != strconv.Itoa(ima.PCR) {
			out["PCR "+name] = value
		}
	}
	return out
}

func flashComponents(raw []byte) map[string]string {
	out := make(map[string]string)
	for _, d := range flashDigests(raw) {
		out[d.Place] = hex.EncodeToString(d.Digest)
	}
	return out
}

func fileComponents(raw []byte) map[string]string {
	out := make(map[string]string)
	for _, d := range fileDigests(raw) {
		merge(out, map[string]string{d.Place: hex.EncodeToString(d.Digest)})
	}
	return out
}

// add counts a device's components of one kind.
func (g *census) add(who OutlierDevice, kind string, found map[string]string) {
	g.kinds[kind]++
	for name, value := range found {
		c := g.components[name]
		if c == nil {
			if g.room() {
				c = &component{kind: kind, values: make(map[string]*holders)}
				g.components[name] = c
			} else {
				continue
			}
		}
		c.have++
		h := c.values[value]
		if h == nil {
			if !g.room() {
				continue
			}
			h = &holders{}
			c.values[value] = h
			g.values++
		}
		h.add(who)
	}
}

func (g *census) room() bool {
	if g.values < maxValues {
		return true
	}
	g.full = true
	return false
}

// judge finds the outliers of a group. A value is one where most devices have another, and at most one in outlierShare
// has it, or one alone. Where no value is that of most, as with serial numbers and partition ids, the component differs
// between healthy devices and tells nothing. Two devices that differ say that one is odd, but not which.
func (g *census) judge(covered func([]byte) bool) OutlierGroup {
	out := g.group
	if out.Devices < smallestGroup {
		out.Notes = append(out.Notes, fmt.Sprintf("%d devices are too few to say which of them is odd: it takes %d", out.Devices, smallestGroup))
		return out
	}
	if g.full {
		out.Notes = append(out.Notes, fmt.Sprintf("more than %d different measurements: some were left out", maxValues))
	}
	varying := 0
	for name, c := range g.components {
		total := g.kinds[c.kind]
		if total < smallestGroup {
			continue
		}
		most, n := c.most(total)
		switch {
		case 3*n >= 2*total:
			out.Outliers = append(out.Outliers, g.outliers(name, c, most, n, total, covered)...)
		case len(c.values) > 1:
			varying++
		}
	}
	if varying > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d components differ between most devices, so nothing follows from them", varying))
	}
	slices.SortFunc(out.Outliers, func(a, b Outlier) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.Count, b.Count), strings.Compare(a.Component, b.Component),
			strings.Compare(a.Observed, b.Observed))
	})
	if n := len(out.Outliers); n > maxListed {
		out.Outliers, out.Left = out.Outliers[:maxListed], n-maxListed
	}
	return out
}

// rank puts first what no reference covers, and changes before what is only there or only absent.
func rank(o *Outlier) int {
	n := 0
	if o.Covered {
		n += 2
	}
	if o.Observed == "" || o.Expected == "" {
		n++
	}
	return n
}

// most returns the value that most devices have, and how many; empty if most lack the component.
func (c *component) most(total int) (value string, n int) {
	for v, h := range c.values {
		if h.count > n || h.count == n && v < value {
			value, n = v, h.count
		}
	}
	if lack := total - c.have; lack > n {
		return "", lack
	}
	return value, n
}

// few returns how many devices of so many at most have what is an outlier.
func few(total int) int { return max(1, total/outlierShare) }

func (g *census) outliers(name string, c *component, most string, n, total int, covered func([]byte) bool) (out []Outlier) {
	add := func(value string, h *holders) {
		o := Outlier{
			Component: name, Expected: most, Observed: value, Most: n, Of: total, Devices: h.devices, Count: h.count,
			Weak: total < strongGroup, Covered: value != "",
		}
		for d := range strings.FieldsSeq(value) {
			digest, err := hex.DecodeString(d)
			o.Covered = o.Covered && err == nil && (strings.Contains(most, d) || covered(digest))
		}
		o.explain()
		out = append(out, o)
	}
	if most == "" && c.kind == store.SeenFiles && total < strongGroup {
		return nil // which files run is a matter of use: only in a larger group one says something
	}
	for value, h := range c.values {
		if value != most && h.count <= few(total) {
			add(value, h)
		}
	}
	if h := g.missing[name]; h != nil && most != "" && h.count > 0 {
		add("", h)
	}
	return out
}

// explain says in words why it is one.
func (o *Outlier) explain() {
	have := fmt.Sprintf("%d of %d devices of this model and version", o.Count, o.Of)
	switch {
	case o.Expected == "":
		o.Meaning = have + " have this, the others don't have it at all"
	case o.Observed == "":
		o.Meaning = fmt.Sprintf("%s lack what %d others have", have, o.Most)
	default:
		o.Meaning = fmt.Sprintf("%s measure something else than %d others", have, o.Most)
	}
	switch {
	case o.Observed == "":
	case o.Covered:
		o.Meaning += "; a reference in force knows it"
	default:
		o.Meaning += "; no reference in force knows it"
	}
	if o.Weak {
		o.Meaning += "; the group is small, so it may as well be the others that are odd"
	}
}
