package web

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func TestManifestRow(t *testing.T) {
	day := func(n int) *time.Time { at := noon.AddDate(0, 0, n); return &at }
	m := &v1.Manifest{NotAfter: day(300), Endorsements: []v1.Endorsement{
		{Name: "a", NotAfter: day(9)},
		{Name: "b", NotAfter: day(1), Void: "revoked"},
	}}
	row := rowOf(m, noon)
	if !row.Ends.Equal(*day(9)) || !row.Soon || row.Over || len(row.Good) != 1 {
		t.Errorf("rowOf() ends %v, soon %v, over %v, %d good signatures; want in 9 days, soon, 1", row.Ends, row.Soon,
			row.Over, len(row.Good))
	}
	if row := rowOf(m, noon.AddDate(0, 0, 10)); !row.Over || row.Soon {
		t.Errorf("after its end: over %v, soon %v", row.Over, row.Soon)
	}
	if row := rowOf(&v1.Manifest{}, noon); row.Ends != nil || row.Over || row.Soon {
		t.Errorf("without an end: %+v", row)
	}
}

func TestApprovalsOf(t *testing.T) {
	m := &v1.Manifest{
		State: "submitted", Needed: 2, Approvals: []v1.Approval{{Actor: "account:alice"}},
		Endorsements: []v1.Endorsement{{Actor: "account:bob"}},
	}
	for me, want := range map[string][2]bool{
		"alice": {true, false}, "bob": {false, true}, "lice": {}, "carol": {},
		"": {},
	} {
		a := approvalsOf(m, me)
		if a.Mine != want[0] || a.Submitted != want[1] || a.Left != 1 || !a.Waits {
			t.Errorf("approvalsOf(%q) = %+v, want mine and submitted %v", me, a, want)
		}
	}
	if a := approvalsOf(&v1.Manifest{}, "alice"); a != nil {
		t.Errorf("a manifest that needs nobody's consent has %+v", a)
	}
}

func TestUploads(t *testing.T) {
	now := noon
	u := newUploads(func() time.Time { return now })
	u.keep("alice", "1", []byte("one"))
	if _, ok := u.get("bob", "1"); ok {
		t.Error("somebody else's manifest is handed over")
	}
	for i := range maxUploads + 3 {
		now = now.Add(time.Second)
		u.keep("alice", string(rune('a'+i)), []byte("more"))
	}
	if _, ok := u.get("alice", "1"); ok || len(u.all) > maxUploads {
		t.Errorf("%d manifests are held, the oldest too: %v", len(u.all), ok)
	}
	u.keep("alice", "big", make([]byte, maxHeld+1))
	if _, ok := u.get("alice", "big"); !ok || len(u.all) != 1 {
		t.Errorf("after a large one %d are held, that one: %v; want it alone", len(u.all), ok)
	}
	now = now.Add(uploadLifetime)
	if _, ok := u.get("alice", "big"); ok {
		t.Error("a manifest is held for ever")
	}
	u.keep("alice", "2", []byte("two"))
	u.drop("alice", "2")
	if _, ok := u.get("alice", "2"); ok {
		t.Error("a dropped manifest is still there")
	}
}

func TestWaivers(t *testing.T) {
	got := waiversOf("waivers:\n- {finding: a, component: 'x*', owner: o, reason: r, expires: 2026-06-10}\n- "+
		"{finding: b, expires: 2026-01-01T10:00:00Z}\n", noon)
	if len(got) != 2 || !got[0].Soon || got[0].Over || got[0].Expires != "2026-06-10" || !got[1].Over {
		t.Errorf("waiversOf() = %+v, want one that ends soon and one that is over", got)
	}
	for _, bad := range []string{"", "waivers: 7", "\t:", "a: &a [*a]"} {
		if got := waiversOf(bad, noon); len(got) != 0 {
			t.Errorf("waiversOf(%q) = %+v, want none", bad, got)
		}
	}
}

func TestAuditObjects(t *testing.T) {
	v := &auditView{}
	id := strings.Repeat("ab", 32)
	for object, want := range map[string]string{
		"/v1/devices/" + id: "/devices/" + id, "/v1/devices/" + id + "/boot?result=1": "/devices/" +
			id, "/v1/manifests/a%2Fb/withdraw": "/manifests/a%2Fb",
		"/v1/devices": "", "/v1/devices/export?state=x": "", "/v1/policy": "", "/v1/devices/..": "",
		"javascript:alert(1)": "", "//evil/v1/devices/x": "",
		"/v1/devices/%zz": "", "": "",
	} {
		if got := v.Page(object); got != want {
			t.Errorf("Page(%q) = %q, want %q", object, got, want)
		}
	}
	if got := v.Words("remove-device"); got != "Remove device" {
		t.Errorf("Words() = %q", got)
	}
}

func TestFormValues(t *testing.T) {
	if diff := cmp.Diff([]string{"Acme*", "Bcme", "Ccme"}, listOf(" Acme*, Bcme,,\r\nCcme\n")); diff != "" {
		t.Errorf("listOf() (-want +got):\n%s", diff)
	}
	labels, err := labelLines("a=b=c\r\n\n rack = 7 \n")
	if diff := cmp.Diff(map[string]string{"a": "b=c", "rack": "7"}, labels); diff != "" || err != nil {
		t.Errorf("labelLines() = %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"a", "=b", "a=", "a= "} {
		if _, err := labelLines(bad); err == nil {
			t.Errorf("labelLines(%q) is accepted", bad)
		}
	}
	for text, want := range map[string]uint64{"": 0, "4096": 4096, "0x1000": 4096} {
		if got, err := number(text, 32, "x"); got != want || err != nil {
			t.Errorf("number(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, bad := range []string{"-1", "1.5", "4294967296", "4k"} {
		if _, err := number(bad, 32, "x"); err == nil {
			t.Errorf("number(%q) is accepted", bad)
		}
	}
}

func TestChangedLines(t *testing.T) {
	long := strings.Repeat("same\n", 20)
	got := changedLines(long+"old\n"+long, long+"new\n"+long)
	var text []string
	for _, l := range got {
		text = append(text, l.Text+"/"+l.Class)
	}
	same := " same/same"
	if diff := cmp.Diff([]string{same, same, same, "-old/gone", "+new/added", same, same, same, " …/same"},
		text); diff != "" {
		t.Errorf("changedLines() (-want +got):\n%s", diff)
	}
	if got := changedLines("a\n", "a\n"); len(got) != 0 {
		t.Errorf("equal texts differ by %v", got)
	}
}
