package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

// schemaVersion is the version of the schema that this package knows.
const schemaVersion = "1"

// settings are what a group asks for.
type settings struct {
	policy     appraise.Policy
	interval   time.Duration
	severities map[string]result.Severity // by code of a finding
	rules      []*rule
}

// clone returns settings that can be changed without changing s.
func (s *settings) clone() settings {
	c := *s
	c.policy.Endorsers = maps.Clone(s.policy.Endorsers)
	c.severities = maps.Clone(s.severities)
	c.rules = slices.Clone(s.rules)
	return c
}

// document reads the top level.
func (p *parser) document(root *field, d *Document) {
	there := map[string]field{}
	keep := func(name string) func(field) { return func(f field) { there[name] = f } }
	root.keys(map[string]func(field){
		"version": keep("version"), "name": keep("name"), "default": keep("default"), "groups": keep("groups"),
		"waivers": keep("waivers"),
	})
	if v, ok := there["version"]; !ok {
		root.fail("the key version is missing: write version: %s", schemaVersion)
	} else {
		v.choice(schemaVersion)
	}
	if name, ok := there["name"]; ok {
		d.Name = name.word()
	} else {
		root.fail("the key name is missing: results name the policy by it")
	}
	fallback := &group{name: defaultGroup, settings: settings{
		policy: p.builtin.Policy, interval: p.builtin.Interval, severities: map[string]result.Severity{},
	}}
	fallback.policy.Endorsers = maps.Clone(p.builtin.Policy.Endorsers)
	if f, ok := there["default"]; ok {
		f.keys(f.readers(&fallback.settings))
		f.agree(&fallback.settings)
	}
	if f, ok := there["groups"]; ok {
		for _, e := range f.list(maxGroups) {
			g := e.group(&fallback.settings)
			if g.name != "" && (g.name == defaultGroup || slices.ContainsFunc(d.groups, func(o *group) bool { return o.name == g.name })) {
				e.fail("the name %q is taken: results name the group by it", g.name)
			}
			d.groups = append(d.groups, g)
		}
	}
	d.groups = append(d.groups, fallback)
	if f, ok := there["waivers"]; ok {
		for _, e := range f.list(maxWaivers) {
			d.waivers = append(d.waivers, e.waiver())
		}
	}
}

// group reads one group, which has all of the default that it does not say otherwise.
func (f field) group(fallback *settings) *group {
	g := &group{settings: fallback.clone()}
	readers := f.readers(&g.settings)
	matched := false
	readers["name"] = func(f field) { g.name = f.word() }
	readers["match"] = func(f field) { g.match, matched = f.match(), true }
	before := len(f.problems)
	f.keys(readers)
	if len(f.problems) > before {
		return g
	}
	if g.name == "" {
		f.fail("the key name is missing: results name the group by it")
	}
	if !matched {
		f.fail("the key match is missing: what holds for all devices belongs to default")
	}
	f.agree(&g.settings)
	return g
}

// readers returns what reads each key that default and groups have.
func (f field) readers(s *settings) map[string]func(field) {
	p := &s.policy
	required := func(to *appraise.Requirement, allowed ...string) func(field) {
		return func(f field) { *to = appraise.Requirement(f.choice(allowed...)) }
	}
	said := map[string]string{} // code: key that said its severity
	return map[string]func(field){
		"stale-after":   func(f field) { p.StaleAfter = f.duration(minStale); s.interval = p.Due() },
		"report-every":  func(field) {}, // see agree: it is read after stale-after
		"banks":         func(f field) { p.Banks = f.banks() },
		"endorsers":     func(f field) { f.endorsers(p) },
		"required-pcrs": func(f field) { p.RequiredPCRs = f.pcrs(p.PCRs &^ pcr.Select(ima.PCR)) },
		"unlogged-pcrs": func(f field) { p.Unlogged = f.pcrs(p.PCRs) },
		"secure-boot":   required(&p.SecureBoot, "ignored", "reference", "required"),
		"ima":           required(&p.IMA, "ignored", "reference", "required"),
		"boot-log":      required(&p.BootLog, "ignored", "required"),
		"flash":         required(&p.Flash, "ignored", "reference", "required"),
		"flash-regions": func(f field) { p.RequiredRegions = f.texts(maxText) },
		"flash-max-age": func(f field) { p.FlashMaxAge = f.duration(time.Minute) },
		"min-identity":  func(f field) { p.MinLevel = result.Level(f.choice("first-use", "pinned", "certified")) },
		"unavailable":   func(f field) { f.unavailable(s.severities, said) },
		"severities":    func(f field) { f.severitiesOf(s.severities, said) },
		"rules":         func(f field) { s.rules = f.rules(s.rules) },
	}
}

// minStale is the shortest stale-after: its third, the time of the next report, is told in whole seconds.
const minStale = 3 * time.Second

// agree checks what several keys of a section say together.
func (f field) agree(s *settings) {
	every := f
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		if f.node.Content[i].Value == "report-every" {
			every = field{f.parser, f.key + ".report-every", f.node.Content[i+1]}
			s.interval = every.duration(time.Second)
		}
	}
	if s.interval >= s.policy.StaleAfter && s.policy.StaleAfter > 0 {
		every.fail("%s: want less than stale-after (%s)", s.interval, s.policy.StaleAfter)
	}
	if s.policy.Flash == appraise.Ignored && len(s.policy.RequiredRegions) > 0 {
		f.fail("flash-regions are required, but flash is ignored: set flash to reference or required")
	}
}
