package charter

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
)

func load(t *testing.T, content string) (*Charter, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "charter.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(name)
}

func full() proto.Platform {
	return proto.Platform{
		Vendor: "a", Model: "b", Board: "c", FirmwareVendor: "d", FirmwareVersion: "e", FirmwareDate: "f", Architecture: "g",
		Kernel: "h", CommandLine: "i", OS: "j", SecureBoot: "on", Firmware: []proto.FirmwareVersion{{Class: "k"}},
		Devices:     []proto.BusDevice{{Bus: "pci", Address: "l"}},
		Unavailable: map[string]string{"esrt": "not-found: none"},
	}
}

// TestEveryField fails when proto.Platform gets a field that no charter can withhold.
func TestEveryField(t *testing.T) {
	if got, want := len(fields), reflect.TypeFor[proto.Platform]().NumField()-1; got != want { // all but Unavailable
		t.Fatalf("a charter knows %d fields of the platform, there are %d", got, want)
	}
	for name := range fields {
		c, err := load(t, "allow: [platform."+name+"]\n")
		if err != nil {
			t.Fatal(err)
		}
		p, un := c.Platform(full())
		if un != nil {
			t.Fatalf("%s: %v", name, un)
		}
		left := 0
		for i := range reflect.TypeOf(p).NumField() {
			if f := reflect.TypeOf(p).Field(i); f.Name != "Unavailable" && !reflect.ValueOf(p).Field(i).IsZero() {
				left++
			}
		}
		if left != 1 || len(p.Unavailable) != len(fields) {
			t.Errorf("%s: %d fields leave, %d are explained: %+v", name, left, len(p.Unavailable), p)
		}
		if _, err := proto.Encode(&p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCharter(t *testing.T) {
	for _, tt := range []struct {
		content      string
		bootLog, ima bool
		flash        bool   // and tamper
		platform     string // vendor and model that leave
		nothingOfIt  bool
		description  string
	}{
		{"allow: [boot-log, ima, platform]", true, true, false, "ab", false, "boot-log, ima, platform"},
		{"allow: [boot-log]", true, false, false, "", true, "boot-log"},
		{"allow: [tamper, flash]", false, false, true, "", true, "flash, tamper"},
		{"allow: [ima, platform.vendor]", false, true, false, "a", false, "ima, platform.vendor"},
		{"allow: []", false, false, false, "", true, "nothing beyond identity, boot id and PCRs"},
	} {
		c, err := load(t, tt.content)
		if err != nil {
			t.Fatal(err)
		}
		original := full()
		p, un := c.Platform(original)
		if (c.BootLog() == nil) != tt.bootLog || (c.IMA() == nil) != tt.ima || p.Vendor+p.Model != tt.platform || (un != nil) != tt.nothingOfIt {
			t.Errorf("%s: boot log %v, IMA %v, platform %+v, %v", tt.content, c.BootLog(), c.IMA(), p, un)
		}
		if (c.Flash() == nil) != tt.flash || (c.Tamper() == nil) != tt.flash {
			t.Errorf("%s: flash %v, tamper %v", tt.content, c.Flash(), c.Tamper())
		}
		if un != nil && un.Cause != proto.CauseNotAllowed {
			t.Errorf("%s: cause %s", tt.content, un.Cause)
		}
		if c.String() != tt.description {
			t.Errorf("%s: String = %q, want %q", tt.content, c, tt.description)
		}
		if diff := cmp.Diff(full(), original); diff != "" {
			t.Errorf("%s: Platform changed its argument: %s", tt.content, diff)
		}
	}
}

func TestNoCharter(t *testing.T) {
	c, err := Load("")
	if c != nil || err != nil {
		t.Fatalf("Load of nothing = %v, %v", c, err)
	}
	p, un := c.Platform(full())
	if diff := cmp.Diff(full(), p); diff != "" || un != nil || c.BootLog() != nil || c.IMA() != nil || c.Flash() != nil || c.Tamper() != nil || c.FlashContent("bios") == nil || c.String() != "everything but the raw content of flash memory" {
		t.Errorf("no charter withholds something: %s %v", diff, un)
	}
}

func TestMistakes(t *testing.T) {
	for content, want := range map[string]string{
		"":                                `no list "allow"`,
		"alow: [ima]":                     `did you mean "allow"?`,
		"allow: [boot-lgo]":               `did you mean "boot-log"?`,
		"allow: [platform.serial]":        "unknown item",
		"allow: [flahs]":                  `did you mean "flash"?`,
		"allow: [ima, ima]":               "twice",
		"allow: {ima: true}":              "want a list",
		"allow: [ima]\nallow: [boot-log]": "duplicate key",
		"allow: [ima]\n---\nallow: []":    "more than one",
		"allow: [Platform.Model]":         "unknown item",
		"allow: [platform.model, \"ima\"": "charter",
	} {
		if c, err := load(t, content); err == nil || c != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load of %q = %v, %v, want %q in the error", content, c, err, want)
		}
	}
	if _, err := Load("/nonexistent"); err == nil {
		t.Error("a charter that is named but missing allows everything")
	}
}

func TestFlashContent(t *testing.T) {
	for _, tt := range []struct {
		allow string
		want  string // regions of bios and "u boot/x" whose content may leave
	}{
		{"flash", ""},
		{"flash, flash-content", "bios u boot/x"},
		{"flash, flash-content.bios", "bios"},
		{"flash-content.bios, flash, \"flash-content.u boot/x\"", "bios u boot/x"},
		{"flash, flash-content.bio, flash-content.bios2, flash-content.BIOS", ""},
	} {
		c, err := load(t, "allow: ["+tt.allow+"]")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, region := range []string{"bios", "u boot/x"} {
			un := c.FlashContent(region)
			if un == nil {
				got = append(got, region)
			} else if un.Cause != proto.CauseNotAllowed || !strings.Contains(un.Reason, region) {
				t.Errorf("%s: FlashContent(%s) = %v", tt.allow, region, un)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: content of %q may leave, want %q", tt.allow, got, tt.want)
		}
	}
	for content, want := range map[string]string{
		"allow: [flash-content]":                           "without flash",
		"allow: [ima, flash-content.x]":                    "without flash",
		"allow: [flash, flash-content.]":                   "unknown item",
		"allow: [flash, flash-contnet]":                    `did you mean "flash-content"?`,
		"allow: [flash, flash-content.x, flash-content.x]": "twice",
	} {
		if c, err := load(t, content); err == nil || c != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load of %q = %v, %v, want %q in the error", content, c, err, want)
		}
	}
}
