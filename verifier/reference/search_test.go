package reference

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
)

func digestOf(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func digestsOf(b byte) manifest.Digests {
	return manifest.Digests{{Algorithm: pcr.SHA256, Value: digestOf(b)}}
}

// searched returns a set of a release in force, one that is past, and a baseline.
func searched(t testing.TB, table *Table) *Set {
	t.Helper()
	release := func(id string, loader byte) Release {
		return Release{
			Manifest: &manifest.Manifest{
				ID: id, Vendor: "Acme", Model: "R7", Version: "2.5",
				PCRs: []manifest.PCR{{Index: 4, Events: []manifest.Event{
					{Slot: "EV_EFI_BOOT_SERVICES_APPLICATION shim", Note: "Shim 15.8", Digests: digestsOf(1)},
					{Slot: "EV_EFI_BOOT_SERVICES_APPLICATION loader", Digests: digestsOf(loader)},
				}}, {Index: 8, Values: []manifest.Digests{digestsOf(9)}}},
				Regions: []manifest.Region{{Name: "BIOS", Length: 1, Digests: digestsOf(5)}},
				Files: manifest.SortFiles([]manifest.File{
					{Path: "/usr/bin/Tool", Digest: digestsOf(6)[0]}, {Path: "/usr/bin/" + id[len(id)-1:], Digest: digestsOf(7)[0]},
				}),
			},
			Endorsers: []Endorser{{Issuer: "Acme", Role: RoleVendor, KeyID: "k"}},
		}
	}
	past := release("acme/r7/1", 3)
	past.State = "withdrawn"
	set, err := Build(Documents{
		Table: table, Releases: []Release{release("acme/r7/2", 2)}, Past: []Release{past},
		Baselines: []Baseline{{
			Name: "golden", Tenant: "t", Vendor: "Acme", Model: "R7", Device: "d", Created: time.Unix(1, 0), Bank: uint16(pcr.SHA256),
			PCRs:  []Register{{Index: 4, Value: digestOf(8), Events: []Event{{Slot: "EV_IPL x", Digest: digestOf(2), Note: "loader"}}}},
			Files: []File{{Path: []byte("/usr/bin/tool"), Digest: digestOf(6)}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func mentioned(list []Mention) (out []string) {
	for _, m := range list {
		out = append(out, fmt.Sprintf("%s %s %s: %s %.2x +%d", m.Kind, m.Document, m.State, m.Place, m.Digest[:min(1, len(m.Digest))], m.Others))
	}
	return out
}

// TestMentions: where a digest is in documents, past ones included.
func TestMentions(t *testing.T) {
	set := searched(t, nil)
	for b, want := range map[byte][]string{
		1: {"manifest acme/r7/2 active: PCR 4, Shim 15.8 01 +0", "manifest acme/r7/1 withdrawn: PCR 4, Shim 15.8 01 +0"},
		2: {"baseline golden active: PCR 4, loader 02 +0", "manifest acme/r7/2 active: PCR 4, EV_EFI_BOOT_SERVICES_APPLICATION loader 02 +0"},
		5: {"manifest acme/r7/2 active: flash region BIOS 05 +0", "manifest acme/r7/1 withdrawn: flash region BIOS 05 +0"},
		6: {
			"baseline golden active: file /usr/bin/tool 06 +0", "manifest acme/r7/2 active: file /usr/bin/Tool 06 +0",
			"manifest acme/r7/1 withdrawn: file /usr/bin/Tool 06 +0",
		},
		8: {"baseline golden active: PCR 4 08 +0"},
		9: {"manifest acme/r7/2 active: PCR 8 09 +0", "manifest acme/r7/1 withdrawn: PCR 8 09 +0"},
		0: nil,
	} {
		if diff := cmp.Diff(want, mentioned(set.Mentions(digestOf(b)))); diff != "" {
			t.Errorf("Mentions of %02x (-want +got):\n%s", b, diff)
		}
	}
	var none *Set
	if got := append(none.Mentions(digestOf(1)), none.Named("acme")...); len(got) != 0 {
		t.Errorf("an empty set mentions %v", got)
	}
}

// TestNamed: documents by a part of what they name, whatever its case.
func TestNamed(t *testing.T) {
	set := searched(t, nil)
	for part, want := range map[string][]string{
		"SHIM 15":    {"manifest acme/r7/2 active: PCR 4, Shim 15.8 01 +0", "manifest acme/r7/1 withdrawn: PCR 4, Shim 15.8 01 +0"},
		"bin/tOOl":   {"baseline golden active: file /usr/bin/tool 06 +0", "manifest acme/r7/2 active: file /usr/bin/Tool 06 +0", "manifest acme/r7/1 withdrawn: file /usr/bin/Tool 06 +0"},
		"/bin/1":     {"manifest acme/r7/1 withdrawn: file /usr/bin/1 07 +0"},
		"Golden":     {"baseline golden active: its name  +0"},
		"acme/r7/2":  {"manifest acme/r7/2 active: its name  +0"},
		"bios":       {"manifest acme/r7/2 active: flash region BIOS 05 +0", "manifest acme/r7/1 withdrawn: flash region BIOS 05 +0"},
		"ev_ipl":     {"baseline golden active: PCR 4, loader 02 +0"},
		"no such":    nil,
		"":           nil,
		"/usr/bin/*": nil,
	} {
		if diff := cmp.Diff(want, mentioned(set.Named(part))); diff != "" {
			t.Errorf("Named(%q) (-want +got):\n%s", part, diff)
		}
	}
	if got := set.Named("usr/bin/"); len(got) != 3 || got[1].Others != 1 {
		t.Errorf("Named of what two files have = %v, want one line for each document", mentioned(got))
	}
}

// TestNamedWhileAdding: documents are added to the table while it is searched, and files of chunks that are full are found.
func TestNamedWhileAdding(t *testing.T) {
	table := NewTable()
	set := searched(t, table)
	var wg sync.WaitGroup
	wg.Go(func() {
		files := make([]manifest.File, 20_000)
		for i := range files {
			files[i] = manifest.File{Path: fmt.Sprintf("/opt/%s/%05d", strings.Repeat("x", 20), i), Digest: digestsOf(byte(i))[0]}
		}
		m := &manifest.Manifest{ID: "big", Vendor: "Acme", Model: "R9", Version: "1", Files: manifest.SortFiles(files)}
		if _, err := table.Prepare(m); err != nil {
			t.Error(err)
		}
	})
	for range 50 {
		if got := set.Named("bin/tool"); len(got) != 3 {
			t.Fatalf("Named() = %v", mentioned(got))
		}
	}
	wg.Wait()
	if got := table.paths("/19999"); len(got) != 1 {
		t.Errorf("paths() = %v, want the last of 20,000 files", got)
	}
	if got := table.paths("/opt/"); len(got) != maxPaths {
		t.Errorf("paths() of what many have = %d, want %d", len(got), maxPaths)
	}
}
