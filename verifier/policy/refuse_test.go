package policy

import (
	"errors"
	"strings"
	"testing"
)

// refusals has every way in which a document can be wrong, and what the message must say.
var refusals = []struct{ name, body, want string }{
	{"unknown key", "defalt: {}", `line 3: unknown key "defalt": did you mean "default"?`},
	{"unknown key of a section", "default:\n  ima: required\n  secureboot: required", `line 5: default: unknown key "secureboot": did you mean "secure-boot"?`},
	{"far from every key", "default: {xyzzyxyzzy: 1}", "known are"},
	{"key twice", "default: {}\ndefault: {}", `line 4`},
	{"no value", "default:", "line 3: default: no value"},
	{"alias", "default: &a {ima: required}\ngroups: [*a]", "anchors and aliases are not allowed"},
	{"merge", "default: {<<: {ima: required}}", `unknown key "<<"`},
	{"tag", "default: {ima: !!str required}", "tags are not allowed"},
	{"scalar for a section", "default: required", "want a mapping with the keys"},
	{"list for a scalar", "default: {ima: [required]}", "want one value"},
	{"mapping for a list", "groups: {a: b}", "want a list"},
	{"two documents", "---\nversion: 1", "more than one YAML document"},
	{"not YAML", "default: [", "line"},
	{"requirement", "default: {ima: yes}", `"yes": want one of ignored, reference, required`},
	{"boot log", "default: {boot-log: reference}", "want one of ignored, required"},
	{"identity", "default: {min-identity: software}", "want one of first-use, pinned, certified"},
	{"duration", "default: {stale-after: 15}", "want a duration of at least 3s"},
	{"short duration", "default: {stale-after: 1s}", "want a duration of at least 3s"},
	{"negative duration", "default: {flash-max-age: -1h}", "at least 1m0s"},
	{"reports too seldom", "default: {stale-after: 10m, report-every: 10m}", "default.report-every: 10m0s: want less than stale-after (10m0s)"},
	{"reports too seldom in a group", "default: {report-every: 14m}\ngroups: [{name: a, match: {groups: [a]}, stale-after: 1m, report-every: 2m}]", "groups[0].report-every"},
	{"bank", "default: {banks: [sha512]}", "want one of sha256, sha384, sha1"},
	{"bank twice", "default: {banks: [sha256, sha256]}", "stands twice"},
	{"no bank", "default: {banks: []}", "want at least one of"},
	{"role", "default: {endorsers: {labs: 1}}", `unknown key "labs": did you mean "lab"?`},
	{"endorsers", "default: {endorsers: {lab: 9}}", "want a number from 0 to 8"},
	{"endorsers in hexadecimal", "default: {endorsers: {lab: 0x1}}", "want a number from 0 to 8"},
	{"PCR", "default: {required-pcrs: [16]}", `"16": want numbers of PCRs, of 0-9,11-15`},
	{"IMA's PCR", "default: {required-pcrs: [10]}", "want numbers of PCRs"},
	{"PCR twice", "default: {unlogged-pcrs: [11, 11]}", "11 stands twice"},
	{"flash contradicts", "default: {flash: ignored, flash-regions: [bios]}", "flash is ignored"},
	{"flash contradicts the default", "default: {flash-regions: [bios]}\ngroups: [{name: a, match: {groups: [a]}, flash: ignored}]", "groups[0]: flash-regions are required"},
	{"region twice", "default: {flash-regions: [bios, bios]}", "stands twice"},
	{"empty text", `default: {flash-regions: [""]}`, "empty"},
	{"control character", `default: {flash-regions: ["a\u0007"]}`, "want characters that print"},
	{"kind", "default: {unavailable: {bios: info}}", `unknown key "bios"`},
	{"code", "default: {severities: {file-unkown: info}}", `did you mean "file-unknown"?`},
	{"severity", "default: {severities: {file-unknown: warn}}", "want one of info, warning, critical"},
	{"severity twice", "default: {unavailable: {ima: info}, severities: {ima-unavailable: warning}}", "was said by"},
	{"software", "default: {severities: {software-identity: info}}", "never trusted"},
	{"group without name", "groups: [{match: {groups: [a]}}]", "the key name is missing"},
	{"group without match", "groups: [{name: a}]", "the key match is missing"},
	{"empty match", "groups: [{name: a, match: {}}]", "empty: what holds for all devices belongs to default"},
	{"match of nothing", "groups: [{name: a, match: {groups: []}}]", "it would match no device"},
	{"identity of nothing", "groups: [{name: a, match: {identity: []}}]", "it would match no device"},
	{"match key", "groups: [{name: a, match: {group: [a]}}]", `unknown key "group": did you mean "groups"?`},
	{"match level", "groups: [{name: a, match: {identity: [tpm]}}]", "want one of certified"},
	{"group twice", "groups: [{name: a, match: {groups: [a]}}, {name: a, match: {groups: [b]}}]", `the name "a" is taken`},
	{"group default", "groups: [{name: default, match: {groups: [a]}}]", `the name "default" is taken`},
	{"name", "groups: [{name: A b, match: {groups: [a]}}]", "want a name of a-z"},
	{"waiver of nothing known", "waivers: [{finding: file-unkown}]", `unknown finding "file-unkown": did you mean "file-unknown"?`},
	{"waiver of software", "waivers: [{finding: software-identity}]", "cannot be waived"},
	{"waiver without owner", waiverBut("owner"), "the key owner is missing: say who answers for it"},
	{"waiver without reason", waiverBut("reason"), "the key reason is missing"},
	{"waiver without end", waiverBut("expires"), "no waiver lasts for ever"},
	{"waiver without component", waiverBut("component"), "the key component is missing"},
	{"waiver without finding", waiverBut("finding"), "the key finding is missing"},
	{"waiver for nobody", waiverBut("groups"), "say for which devices"},
	{"waiver key", "waivers: [{ower: me}]", `did you mean "owner"?`},
	{"waiver's end", "waivers: [{expires: tomorrow}]", "want the last day, such as 2027-03-31"},
	{"waiver's day", "waivers: [{expires: 2026-02-30}]", "want the last day"},
	{"waiver's device", "waivers: [{devices: [abcdef12]}]", "want at least 12 digits"},
	{"rule key", "default: {rules: [{nam: a}]}", `did you mean "name"?`},
	{"rule without when", "default: {rules: [{name: a, severity: info, message: m}]}", "the key when is missing"},
	{"rule without severity", `default: {rules: [{name: a, when: "true", message: m}]}`, "the key severity is missing"},
	{"rule without message", `default: {rules: [{name: a, when: "true", severity: info}]}`, "the key message is missing"},
	{"rule without name", `default: {rules: [{when: "true", severity: info, message: m}]}`, "the key name is missing"},
	{"rule's part", `default: {rules: [{name: a, part: tpm}]}`, "want one of identity, boot"},
	{"rule twice", `default: {rules: [` + aRule + `]}` + "\n" + `groups: [{name: a, match: {groups: [a]}, rules: [` + aRule + `]}]`, `the name "a" is taken`},
}

const aRule = `{name: a, when: "true", severity: info, message: m}`

// waiverBut returns a waiver without one of its keys.
func waiverBut(key string) string {
	all := map[string]string{
		"finding": "file-unknown", "component": `"*"`, "groups": "[a]", "owner": "alice", "reason": "migration", "expires": "2026-12-31",
	}
	delete(all, key)
	var parts []string
	for k, v := range all {
		parts = append(parts, k+": "+v)
	}
	return "waivers: [{" + strings.Join(parts, ", ") + "}]"
}

func TestRefusals(t *testing.T) {
	for _, tt := range refusals {
		d, err := Compile([]byte("version: 1\nname: fleet\n"+tt.body+"\n"), 1, builtin())
		var wrong *Error
		if d != nil || !errors.As(err, &wrong) {
			t.Errorf("%s: Compile() = %v, %v, want an *Error and no document", tt.name, d, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error says %q, want %q in it", tt.name, err, tt.want)
		}
	}
	if _, err := Compile([]byte("version: 1\nname: fleet\n"+waiverBut("nothing")), 1, builtin()); err != nil {
		t.Errorf("a waiver with all keys: %v", err)
	}
}

func TestRefusalsOfTheWhole(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"empty":         {"", "is empty"},
		"comment":       {"# nothing", "is empty"},
		"no version":    {"name: a", "the key version is missing"},
		"other version": {"version: 2\nname: a", `version: "2": want one of 1`},
		"no name":       {"version: 1", "the key name is missing"},
		"bad name":      {"version: 1\nname: A/b", "want a name of a-z"},
		"list":          {"- version: 1", "want a mapping"},
		"scalar":        {"x", "want a mapping"},
		"null":          {"~", "no value"},
		"too large":     {"version: 1\nname: a\n#" + strings.Repeat("x", MaxDocument), "over the limit of 131072 bytes"},
		"many groups":   {"version: 1\nname: a\ngroups: [" + strings.Repeat("{},", maxGroups) + "{}]", "at most 256 allowed"},
		"many waivers":  {"version: 1\nname: a\nwaivers: [" + strings.Repeat("{},", maxWaivers) + "{}]", "at most 1024 allowed"},
		"many rules":    {"version: 1\nname: a\ndefault: {rules: [" + strings.Repeat("{},", maxRules) + "{}]}", "at most 32 allowed"},
		"long text":     {"version: 1\nname: a\ndefault: {flash-regions: [" + strings.Repeat("x", maxText+1) + "]}", "at most 300 allowed"},
	} {
		if _, err := Compile([]byte(tt.text), 1, builtin()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Compile() = %v, want %q in it", name, err, tt.want)
		}
	}
}

// FuzzCompile: whatever the text, there is a document or an Error, never both, and a document can be used.
func FuzzCompile(f *testing.F) {
	seeds := 0
	add := func(s string) { seeds++; f.Add([]byte(s)) }
	add(string(builtin().Document()))
	for _, tt := range refusals {
		add("version: 1\nname: fleet\n" + tt.body)
	}
	if seeds < 50 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Compile(text, 1, builtin())
		var wrong *Error
		switch {
		case (d == nil) == (err == nil):
			t.Fatalf("Compile() = %v, %v, want one of both", d, err)
		case err != nil:
			if !errors.As(err, &wrong) || len(wrong.Problems) == 0 || len(wrong.Problems) > maxProblems {
				t.Fatalf("Compile() = %v, want an *Error with problems", err)
			}
			return
		}
		in := d.For(edge())
		if in.Policy == nil || in.Rules == nil || in.Interval <= 0 || in.Interval >= in.Policy.StaleAfter {
			t.Fatalf("For() = %+v, want a policy whose interval is shorter than its staleness", in)
		}
		applied(in)
		d.Notices(now)
	})
}
