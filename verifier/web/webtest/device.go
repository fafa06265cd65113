package webtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// Digest returns a digest that is always the same for the same text.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// DetailOperations are those of the pages of one device.
var DetailOperations = []string{
	"get-device", "list-results", "get-similar", "get-boot", "get-files", "get-flash", "get-timeline", "get-freshness",
	"compare-devices",
	"get-evidence", "get-boot-log", "get-ima-list", "list-captures", "get-capture", "get-capture-raw", "search",
}

// AddDetail makes every device explain itself: those that are untrusted booted another boot loader and have another
// firmware in flash memory, all others are as they should be. Roles that see devices see it all.
func (a *API) AddDetail() {
	for _, role := range []v1.Role{v1.Viewer, v1.Operator, v1.Auditor, v1.Admin} {
		a.Allow(role, DetailOperations...)
	}
	for _, role := range []v1.Role{v1.Operator, v1.Admin} {
		a.Allow(role, "create-capture", "remove-capture", "create-baseline", "add-denial")
	}
	a.device("GET /v1/devices/{id}", func(d *v1.Device, _ *http.Request) any { return d })
	parts := map[string]func(*v1.Device, *http.Request) any{
		"results":   func(d *v1.Device, _ *http.Request) any { return a.results(d) },
		"similar":   func(d *v1.Device, _ *http.Request) any { return similar(d) },
		"boot":      func(d *v1.Device, _ *http.Request) any { return bootOf(d, a.start) },
		"files":     func(d *v1.Device, r *http.Request) any { return filesOf(d, r.URL.Query().Get("standing")) },
		"flash":     func(d *v1.Device, _ *http.Request) any { return flashOf(d) },
		"timeline":  func(d *v1.Device, _ *http.Request) any { return timelineOf(d, a.start) },
		"freshness": func(d *v1.Device, _ *http.Request) any { return freshnessOf(d, a.start) },
		"boot-log":  func(*v1.Device, *http.Request) any { return []byte("raw bytes") },
		"ima-list":  func(*v1.Device, *http.Request) any { return []byte("raw bytes") },
		"diff":      func(d *v1.Device, r *http.Request) any { return a.diffOf(d, r.URL.Query().Get("with")) },
		"captures":  func(d *v1.Device, _ *http.Request) any { return capturesOf(d, a.start) },
	}
	// One pattern for all: with a pattern of its own, none would be more special than that of bulk actions.
	a.device("GET /v1/devices/{id}/{part}", func(d *v1.Device, r *http.Request) any {
		if answer, ok := parts[r.PathValue("part")]; ok {
			return answer(d, r)
		}
		return nil
	})
	a.device("GET /v1/devices/{id}/captures/{capture}", func(d *v1.Device, _ *http.Request) any {
		return capturesOf(d,
			a.start).Captures[0]
	})
	a.device("POST /v1/devices/{id}/attest", func(*v1.Device, *http.Request) any { return nil })
	a.device("POST /v1/devices/{id}/captures", func(d *v1.Device, _ *http.Request) any {
		return capturesOf(d,
			a.start).Captures[0]
	})
	a.device("POST /v1/devices/{id}/approve", func(d *v1.Device, _ *http.Request) any {
		d.Status = "active"
		return d
	})
	a.device("PATCH /v1/devices/{id}", func(d *v1.Device, _ *http.Request) any { return d })
	a.device("DELETE /v1/devices/{id}", func(*v1.Device, *http.Request) any { return nil })
	a.device("GET /v1/devices/{id}/evidence/{digest}", func(*v1.Device, *http.Request) any { return []byte("raw bytes") })
	a.Handle("GET /v1/devices/{id}/captures/{capture}/raw", func(r *http.Request, _ []byte) (int, any) {
		if r.URL.Query().Get("offset") == "0" {
			return http.StatusOK, []byte("first ")
		}
		return http.StatusOK, []byte("second")
	})
	a.Handle("POST /v1/baselines", func(*http.Request, []byte) (int, any) {
		return http.StatusOK, v1.Baseline{Name: "r7-lab", Kind: "baseline", Created: a.start}
	})
}

// device sets a route about one device, which is named by its id or its label.
func (a *API) device(route string, answer func(*v1.Device, *http.Request) any) {
	a.Handle(route, func(r *http.Request, _ []byte) (int, any) {
		name := r.PathValue("id")
		for i := range a.devices {
			d := &a.devices[i]
			if d.ID == name || d.Label == name {
				if document := answer(d, r); document != nil {
					return http.StatusOK, document
				}
				return http.StatusNoContent, nil
			}
		}
		return http.StatusNotFound, &v1.Problem{Title: "Not Found", Status: http.StatusNotFound, Detail: "no device " + name}
	})
}

// findingsOf is what the newest result of a device says.
func findingsOf(d *v1.Device) []result.Finding {
	since := time.Now().Add(-3 * time.Hour).UTC().Truncate(time.Second)
	switch d.State {
	case result.Untrusted:
		return []result.Finding{
			{
				Code: "boot-event-changed", Severity: result.Critical, Submod: result.Boot,
				Component: `PCR 4, boot application \EFI\BOOT\BOOTX64.EFI`, Expected: Digest("shim 15.8"),
				Observed:  Digest("bootkit"),
				Meaning:   "was replaced: its measurement is not the reference value",
				Action:    "isolate the device, keep its evidence and compare the component with the vendor's image",
				FirstSeen: since,
			},
			{
				Code: "flash-changed", Severity: result.Critical, Submod: result.Flash, Component: "flash region bios",
				Expected: "sha256:" + Digest("bios 2.5.0"), Observed: "sha256:" +
					Digest("bios with implant"), Nearest: "acme-r7-2.4.1",
				Meaning:   "the flash memory's content is not the reference value",
				Action:    "isolate the device, keep its evidence and compare the component with the vendor's image",
				FirstSeen: since,
			},
			{
				Code: "file-unknown", Severity: result.Warn, Submod: result.Runtime, Component: "file /usr/local/bin/agentd",
				Observed: "sha256:" + Digest("agentd"), Meaning: "the file is not in the reference values",
				Action: "find out which package brought it", FirstSeen: since,
			},
			{
				Code: "flash-unavailable", Severity: result.Info, Submod: result.Flash, Component: "flash region me",
				Observed: "locked by the chipset",
				Meaning:  "the device could not read it, so its content is not known", Action: "see the agent's log on the " +
					"device for the reason",
				FirstSeen: since, Waiver: &result.Waiver{
					Owner: "alice@acme.example", Reason: "the chipset of this board never lets it be read",
					Expires: since.AddDate(0, 3, 0), Was: result.Warn,
				},
			},
		}
	case result.Warning:
		return []result.Finding{{
			Code: "ima-unavailable", Severity: result.Warn, Submod: result.Runtime, Component: "IMA list",
			Meaning: "there is no IMA list, so it is not known which files ran", Action: "see the agent's log on the " +
				"device for the reason", FirstSeen: since,
		}}
	}
	return []result.Finding{}
}

func (a *API) results(d *v1.Device) v1.Results {
	if d.LastSeen == nil {
		return v1.Results{Results: []v1.Result{}}
	}
	r := result.Result{
		Tenant: "default", Device: d.ID, Evidence: Digest("evidence " +
			d.ID), IssuedAt: d.LastSeen.Add(-2 * time.Second), At: *d.LastSeen,
		StaleAt: d.LastSeen.Add(time.Hour), State: d.Verdict, Level: d.Level, Findings: findingsOf(d),
		Policy:     "acme@7/core/1f0c6a2f3b5d9e80",
		References: []string{"acme-r7-2.5.0"}, BootID: "4f1c", Resets: 12, BootLog: Digest("boot log"), IMAEntries: 1204,
		Bank:   "sha256",
		Vendor: d.Vendor, Model: d.Model, FlashAge: 240,
		Submods: map[result.Submod]result.Vector{
			result.Identity: {InstanceIdentity: 2}, result.Boot: {
				Executables:   2,
				Configuration: 2,
			}, result.Runtime: {Executables: 2},
			result.Flash: {Executables: 2},
		},
		Strength: result.Strengths{
			Identity: result.Hardware, Boot: result.Hardware, Runtime: result.Hardware, Flash: result.MeasuredAgent,
			Platform: result.None,
		},
		Regions: []result.Region{
			{
				Name: "bios", Source: "mtd0", Offset: 0x600000, Length: 0xa00000, Status: result.RegionChanged,
				Digest: Digest("bios with implant"),
			},
			{
				Name: "me", Source: "mtd0", Offset: 0x1000, Length: 0x5ff000, Status: result.RegionUnavailable,
				Reason: "locked by the chipset",
			},
		},
	}
	if d.State == result.Untrusted {
		r.Submods[result.Boot], r.Submods[result.Flash] = result.Vector{Executables: 96}, result.Vector{Executables: 96}
		r.Submods[result.Runtime] = result.Vector{Executables: 33}
	} else {
		r.Regions = r.Regions[1:]
	}
	out := v1.Results{Results: []v1.Result{{Seq: 9042, EAR: "eyJhbGciOiJFUzI1NiJ9." + strings.Repeat("Zm9v", 60) +
		".c2ln", Result: r}}}
	old := r
	old.At, old.State, old.Findings = d.LastSeen.Add(-24*time.Hour), result.Trusted, nil
	out.Results = append(out.Results, v1.Result{Seq: 8011, EAR: "eyJ.e30.c2ln", Result: old})
	return out
}

func similar(d *v1.Device) v1.SimilarFindings {
	out := v1.SimilarFindings{Result: 9042, Findings: []v1.SimilarFinding{}}
	for i, f := range findingsOf(d) {
		out.Findings = append(out.Findings, v1.SimilarFinding{
			Code: f.Code, Component: f.Component, Observed: f.Observed, Others: []int{3103, 0, 1}[i%3], Devices: []string{},
		})
	}
	return out
}

// event is one event of the fake's boot log.
func event(number int, kind, text string, standing v1.Standing) v1.BootEvent {
	e := v1.BootEvent{
		Number: number, Type: kind, Text: text, Proven: number%3 != 0, Standing: standing,
		Digest: Digest(kind + text),
	}
	if standing == v1.Matched {
		e.Reference = "acme-r7-2.5.0"
	}
	if standing == v1.Missing {
		e.Number, e.Reference = 0, "acme-r7-2.5.0"
	}
	return e
}

func bootOf(d *v1.Device, at time.Time) *v1.Boot {
	b := &v1.Boot{Result: 9042, At: at, Bank: "sha256", Log: Digest("boot log"), References: []string{"acme-r7-2.5.0"}}
	separator := func(n int) v1.BootEvent { return event(n, "EV_SEPARATOR", "end of the firmware's part", v1.Explained) }
	add := func(index int, name string, events ...v1.BootEvent) {
		pcr := v1.BootPCR{
			Index: index, Name: name, Value: Digest(fmt.Sprint("pcr", index, d.State)), Standing: v1.Matched,
			Replayed: true, Events: events,
		}
		for _, e := range events {
			if e.Standing == v1.Unknown || e.Standing == v1.Missing {
				pcr.Standing = v1.Unknown
			}
		}
		b.PCRs = append(b.PCRs, pcr)
	}
	var blobs, options []v1.BootEvent
	for i := range 6 {
		blobs = append(blobs, event(2+i, "EV_EFI_PLATFORM_FIRMWARE_BLOB2", fmt.Sprintf("firmware volume %d", i), v1.Matched))
	}
	for i := range 22 {
		options = append(options, event(12+i, "EV_EFI_VARIABLE_BOOT", fmt.Sprintf("Boot%04d", i), v1.Uncovered))
	}
	loader := event(52, "EV_EFI_BOOT_SERVICES_APPLICATION", `boot application \EFI\BOOT\BOOTX64.EFI`, v1.Matched)
	gone := []v1.BootEvent{}
	if d.State == result.Untrusted {
		loader = event(52, "EV_EFI_BOOT_SERVICES_APPLICATION",
			`boot application \EFI\BOOT\BOOTX64.EFI on PciRoot(0x0)/Pci(0x1,0x2)/NVMe(0x1)`, v1.Unknown)
		loader.Digest = Digest("bootkit")
		gone = append(gone, event(0, "EV_EFI_BOOT_SERVICES_APPLICATION",
			`boot application \EFI\BOOT\BOOTX64.EFI (shim 15.8)`, v1.Missing))
	}
	add(0, "the firmware's own code", append([]v1.BootEvent{event(1, "EV_S_CRTM_VERSION", "2.5.0", v1.Matched)},
		append(blobs, separator(8))...)...)
	add(1, "the firmware's settings and the machine's description", append(options, separator(34))...)
	add(2, "firmware of devices (option ROMs)", event(35, "EV_EFI_BOOT_SERVICES_DRIVER", "network option ROM",
		v1.Matched), separator(36))
	add(3, "settings of device firmware", separator(37))
	add(4, "boot loader and what it starts", append([]v1.BootEvent{
		event(50, "EV_EFI_ACTION", "Calling EFI Application from Boot Option", v1.Explained), separator(51), loader,
		event(53, "EV_EFI_BOOT_SERVICES_APPLICATION", `\EFI\debian\grubx64.efi`, v1.Matched),
	}, gone...)...)
	add(5, "partitions and boot loader settings", event(54, "EV_EFI_GPT_EVENT", "GPT with 3 partitions", v1.Uncovered),
		separator(55))
	add(6, "events of the platform's maker", separator(56))
	add(7, "Secure Boot's state and keys", event(57, "EV_EFI_VARIABLE_DRIVER_CONFIG", "SecureBoot = 1", v1.Matched),
		event(58, "EV_EFI_VARIABLE_DRIVER_CONFIG", "PK", v1.Matched), event(59, "EV_EFI_VARIABLE_DRIVER_CONFIG", "KEK",
			v1.Matched),
		event(60, "EV_EFI_VARIABLE_DRIVER_CONFIG", "db", v1.Matched), event(61, "EV_EFI_VARIABLE_DRIVER_CONFIG", "dbx",
			v1.Matched), separator(62))
	add(8, "what the boot loader ran", event(63, "EV_IPL", "grub_cmd: linux /vmlinuz root=/dev/sda2 ro quiet", v1.Matched))
	add(9, "what the boot loader read", event(64, "EV_IPL", "/vmlinuz", v1.Matched),
		event(65, "EV_IPL", "/initrd.img", v1.Matched))
	return b
}

func filesOf(d *v1.Device, standing string) *v1.Files {
	f := &v1.Files{
		Result: 9042, Entries: 1204, Counts: map[string]int{"matched": 1198, "explained": 1},
		Files: []v1.File{},
	}
	all := []v1.File{
		{Path: "boot_aggregate", Digests: []string{"sha256:" + Digest("aggregate")}, Standing: v1.Explained, Entries: 1},
		{
			Path: "/usr/lib/systemd/systemd", Digests: []string{"sha256:" + Digest("systemd")}, Standing: v1.Matched,
			Reference: "acme-r7-2.5.0", Entries: 1,
		},
		{
			Path: "/usr/sbin/sshd", Digests: []string{"sha256:" + Digest("sshd")}, Standing: v1.Matched,
			Reference: "acme-r7-2.5.0", Entries: 3,
		},
	}
	if d.State == result.Untrusted {
		f.Counts["unknown"], f.Counts["denied"], f.Counts["violations"] = 1, 1, 2
		all = append([]v1.File{
			{
				Path: "/opt/telemetry/collect.so", Digests: []string{"sha256:" + Digest("telemetry")}, Standing: v1.Denied,
				Reference: "CVE-2026-12345", Entries: 1,
			},
			{
				Path: "/usr/local/bin/agentd", Digests: []string{"sha256:" + Digest("agentd"), "sha256:" + Digest("agentd 2")},
				Standing: v1.Unknown, Entries: 2, Violations: 2,
			},
		}, all...)
	}
	for _, one := range all {
		if standing == "" || string(one.Standing) == standing {
			f.Files = append(f.Files, one)
		}
	}
	f.Next = "3"
	return f
}

func flashOf(d *v1.Device) *v1.Flash {
	bios := v1.ChipRange{
		Name: "bios", Offset: 0x600000, Length: 0xa00000, Standing: v1.Matched, Digest: Digest("bios 2.5.0"),
		Reference: "acme-r7-2.5.0",
		Excluded: []v1.ChipSpan{
			{Offset: 0, Length: 0x40000, Why: "variables"},
			{Offset: 0x900000, Length: 0x1000, Why: "serial number"},
		},
	}
	if d.State == result.Untrusted {
		bios.Standing, bios.Expected, bios.Digest = v1.Changed, Digest("bios 2.5.0"), Digest("bios with implant")
	}
	return &v1.Flash{Result: 9042, Age: 240, Chips: []v1.Chip{
		{Source: "mtd0 (spi-nor, w25q128)", Size: 16 << 20, Regions: []v1.ChipRange{
			{
				Name: "descriptor", Offset: 0, Length: 0x1000, Standing: v1.Matched, Digest: Digest("ifd"),
				Reference: "acme-r7-2.5.0",
			},
			{Name: "me", Offset: 0x1000, Length: 0x5ff000 - 0x2000, Standing: v1.Unreadable, Why: "locked by the chipset"},
			{Name: "gbe", Offset: 0x5fe000, Length: 0x2000, Standing: v1.Excluded, Why: "holds the MAC address"},
			bios,
		}},
		{Source: "mmcblk0boot0", Size: 4 << 20, Regions: []v1.ChipRange{
			{
				Name: "u-boot-spl", Offset: 0, Length: 0x40000, Standing: v1.Matched, Digest: Digest("spl"),
				Reference: "acme-r7-2.5.0",
			},
			{Name: "vendor-data", Offset: 0x40000, Length: 0x200000, Standing: v1.Uncovered, Digest: Digest("vendor data")},
		}},
	}}
}

func timelineOf(d *v1.Device, at time.Time) *v1.Timeline {
	t := &v1.Timeline{Points: []v1.TimelinePoint{}, Next: 40}
	if d.State == result.Untrusted {
		t.Points = append(t.Points, v1.TimelinePoint{
			At: at.Add(-3 * time.Hour), Until: &at, Kind: "result", State: result.Untrusted, Count: 36, Result: 9006,
			Text: `PCR 4, boot application \EFI\BOOT\BOOTX64.EFI was replaced`,
		}, v1.TimelinePoint{At: at.Add(-3*time.Hour - time.Minute), Kind: "reboot", Text: "The device started again; " +
			"TPM reset 12"})
	}
	until := at.Add(-3*time.Hour - 2*time.Minute)
	t.Points = append(t.Points,
		v1.TimelinePoint{
			At: at.Add(-30 * time.Hour), Until: &until, Kind: "result", State: result.Trusted, Count: 318,
			Result: 8011, Text: "Everything that was appraised matches acme-r7-2.5.0",
		},
		v1.TimelinePoint{At: at.Add(-31 * time.Hour), Kind: "firmware", Text: "Firmware went from 2.4.1 to 2.5.0"},
		v1.TimelinePoint{At: at.Add(-90 * time.Hour), Kind: "event", Text: "The device was let in", Actor: "account:alice"})
	return t
}

func freshnessOf(d *v1.Device, at time.Time) *v1.Freshness {
	return &v1.Freshness{
		Result: 9042, Nonce: at.Add(-2 * time.Second), At: at, StaleAt: at.Add(time.Hour), Clock: 812_345_678, Resets: 12,
		Restarts: 0,
		Evidence: Digest("evidence " + d.ID), Text: []string{
			"The verifier made the challenge 2 seconds before it had the answer.",
			"The TPM signed the challenge together with everything else in the report: it cannot be an older report.",
			"The TPM's clock and its counter of resets went only forward since the report before.",
		},
	}
}

func capturesOf(d *v1.Device, at time.Time) v1.Captures {
	return v1.Captures{Captures: []v1.Capture{
		{
			ID: 7, Device: d.ID, State: "done", Region: "bios", Size: 12, Held: 12, Reported: "same", Actor: "account:alice",
			Created: at, Updated: at, Expires: at.Add(time.Hour),
		},
		{
			ID: 6, Device: d.ID, State: "refused", Reason: "the owner's charter does not allow it", Region: "me",
			Actor: "account:bob", Created: at, Updated: at, Expires: at,
		},
	}}
}

func (a *API) diffOf(d *v1.Device, with string) *v1.Diff {
	other := *d
	for _, o := range a.devices {
		if o.ID == with || o.Label == with {
			other = o
		}
	}
	return &v1.Diff{
		Left: v1.DiffSide{Device: d.ID, Label: d.Label, Result: 9042, At: a.start, State: d.State},
		Right: v1.DiffSide{
			Device: other.ID, Label: other.Label, Result: 8011, At: a.start.Add(-24 * time.Hour),
			State: other.State,
		}, Same: 1287,
		Parts: []v1.DiffPart{
			{Part: "pcrs", Lines: []v1.DiffLine{{What: "PCR 4", Left: Digest("left 4"), Right: Digest("right 4")}}},
			{Part: "boot", Lines: []v1.DiffLine{
				{What: `PCR 4, boot application \EFI\BOOT\BOOTX64.EFI`, Left: Digest("bootkit"), Right: Digest("shim 15.8")},
				{What: "PCR 9, /initrd.img", Left: Digest("initrd")},
			}, Left: 3},
			{Part: "files", Lines: []v1.DiffLine{{What: "/usr/local/bin/agentd", Left: "sha256:" + Digest("agentd")}}},
		},
	}
}

// DeviceIDs returns the ids of all devices in the order in which they were added.
func (a *API) DeviceIDs() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for i := range a.devices {
		out = append(out, a.devices[i].ID)
	}
	return out
}
