package appraise_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
)

func devices() []proto.BusDevice {
	return []proto.BusDevice{
		{Bus: "i2c", Address: "3-0050", Name: "24c02"},
		{Bus: "pci", Address: "0000:00:1f.2", Name: "8086:2922 class 010601"},
		{Bus: "spi", Address: "spi0.0", Name: "jedec,spi-nor"},
	}
}

func withInventory(t testing.TB) *bench {
	t.Helper()
	b := newBench(t)
	b.device.Platform.Devices = devices()
	return b.trusting()
}

func TestInventory(t *testing.T) {
	implant := proto.BusDevice{Bus: "spi", Address: "spi9.0", Name: "implant"}
	tests := []struct {
		name                                string
		change                              func(d *appraisetest.Device)
		code, component, expected, observed string
	}{
		{"as it was", func(*appraisetest.Device) {}, "", "", "", ""},
		{"added", func(d *appraisetest.Device) { d.Platform.Devices = append(devices(), implant) }, "inventory-unknown", "spi spi9.0", "", "implant"},
		{"removed", func(d *appraisetest.Device) { d.Platform.Devices = devices()[1:] }, "inventory-missing", "i2c 3-0050", "24c02", ""},
		{
			"replaced", func(d *appraisetest.Device) { d.Platform.Devices[2].Name = "implant" },
			"inventory-unknown", "spi spi0.0", "jedec,spi-nor", "implant",
		},
		{"not told", func(d *appraisetest.Device) { d.Platform.Devices = nil }, "inventory-missing", "hardware inventory", "3 pieces of hardware", "none"},
		{"kept by the charter", func(d *appraisetest.Device) {
			d.NoPlatform = &proto.Unavailable{Cause: proto.CauseNotAllowed, Reason: "the charter keeps it"}
		}, "inventory-missing", "hardware inventory", "", "not-allowed: the charter keeps it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := withInventory(t)
			b.wantState(b.attest(), result.Trusted)
			tt.change(b.device)
			for range 3 { // the description is not read again where it did not change
				r := b.attest()
				if tt.code == "" {
					b.wantState(r, result.Trusted)
					if got := r.Submods[result.Platform].Status(); got != "affirming" || r.Strength.Platform != result.SelfAsserted {
						t.Errorf("platform is %s, %s, want affirming, self-asserted", got, r.Strength.Platform)
					}
					continue
				}
				b.wantState(r, result.Warning)
				if len(r.Findings) != 1 {
					t.Errorf("findings = %v, want one", codesOf(r))
				}
				f := wantFinding(t, r, tt.code)
				want := [...]string{tt.component, tt.expected, tt.observed}
				if diff := cmp.Diff(want, [...]string{f.Component, f.Expected, f.Observed}); diff != "" {
					t.Errorf("component, expected, observed: %s", diff)
				}
				if got := r.Submods[result.Platform].Status(); got != "warning" {
					t.Errorf("platform status = %s, want warning", got)
				}
			}
		})
	}
	t.Run("no reference", func(t *testing.T) {
		b := newBench(t).trusting()
		b.device.Platform.Devices = append(devices(), implant)
		r := b.attest()
		b.wantState(r, result.Trusted)
		if _, ok := r.Submods[result.Platform]; ok || r.Strength.Platform != result.None {
			t.Errorf("platform = %+v, %s, want nothing said of it", r.Submods[result.Platform], r.Strength.Platform)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		b := withInventory(t)
		b.attest()
		b.device.ForgeClaims = func(c *proto.Claims) {
			bad := []byte("no CBOR")
			b.contents[proto.Sum(bad)] = bad
			c.Platform.Content = &proto.Content{Digest: proto.Sum(bad), Size: uint32(len(bad))}
		}
		r := b.attest()
		b.wantState(r, result.Warning)
		wantFinding(t, r, "platform-malformed")
		wantFinding(t, r, "inventory-missing")
	})
}

// TestManyDevices: a machine that is another one altogether does not flood the result.
func TestManyDevices(t *testing.T) {
	b := newBench(t)
	fill := func(bus string) {
		b.device.Platform.Devices = nil
		for i := range 200 {
			b.device.Platform.Devices = append(b.device.Platform.Devices, proto.BusDevice{Bus: bus, Address: fmt.Sprintf("%03d", i), Name: "x"})
		}
	}
	fill("pci")
	b.trusting()
	fill("usb")
	r := b.attest()
	if len(r.Findings) != 18 {
		t.Errorf("%d findings, want 8 of each kind and how many more", len(r.Findings))
	}
	more := 0
	for _, f := range r.Findings {
		if f.Expected == "192 more" || f.Observed == "192 more" {
			more++
		}
	}
	if more != 2 {
		t.Errorf("%d findings say how many more, want 2", more)
	}
}

func line(name string, state proto.TamperState, openings uint32) proto.TamperLine {
	return proto.TamperLine{Name: name, State: state, Openings: openings}
}

func TestTamper(t *testing.T) {
	unread := proto.TamperLine{Name: "lid", Unavailable: &proto.Unavailable{Cause: proto.CausePermission, Reason: "gpiochip0"}}
	tests := []struct {
		name         string
		lines        []proto.TamperLine
		code, within string
		want         result.State
	}{
		{"closed", []proto.TamperLine{line("lid", proto.TamperClosed, 0)}, "", "", result.Trusted},
		{"open", []proto.TamperLine{line("lid", proto.TamperOpen, 0)}, "tamper-open", "open", result.Untrusted},
		{"open again", []proto.TamperLine{line("lid", proto.TamperOpen, 3)}, "tamper-open", "open", result.Untrusted},
		{"was open", []proto.TamperLine{line("lid", proto.TamperClosed, 1)}, "tamper-opened", "opened once", result.Warning},
		{"was open often", []proto.TamperLine{line("lid", proto.TamperClosed, 3)}, "tamper-opened", "opened 3 times", result.Warning},
		{"unreadable", []proto.TamperLine{unread}, "tamper-unavailable", "permission: gpiochip0", result.Warning},
		{"not told", nil, "tamper-missing", "", result.Warning},
		{"another", []proto.TamperLine{line("door", proto.TamperClosed, 0)}, "tamper-missing", "", result.Warning},
	}
	for _, referenced := range []bool{true, false} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, references %t", tt.name, referenced), func(t *testing.T) {
				b := newBench(t)
				if referenced {
					b.device.Tamper = []proto.TamperLine{line("lid", proto.TamperClosed, 0)}
				}
				b.trusting()
				b.device.Tamper = tt.lines
				r := b.attest()
				if !referenced && tt.code == "tamper-missing" {
					b.wantState(r, result.Trusted)
					return
				}
				b.wantState(r, tt.want)
				if tt.code == "" {
					if r.Strength.Platform != result.SelfAsserted {
						t.Errorf("strength = %s, want self-asserted", r.Strength.Platform)
					}
					return
				}
				f := wantFinding(t, r, tt.code)
				if f.Component != "tamper line lid" || !strings.Contains(f.Observed, tt.within) || f.Submod != result.Platform {
					t.Errorf("finding = %+v, want of the lid: %s", f, tt.within)
				}
				if tt.want == result.Untrusted && r.Submods[result.Platform].Hardware != 96 {
					t.Errorf("platform = %+v, want hardware 96", r.Submods[result.Platform])
				}
			})
		}
	}
	t.Run("closed again", func(t *testing.T) {
		b := newBench(t)
		b.device.Tamper = []proto.TamperLine{line("lid", proto.TamperClosed, 0)}
		b.trusting()
		b.device.Tamper[0] = line("lid", proto.TamperOpen, 1)
		b.wantState(b.attest(), result.Untrusted)
		b.device.Tamper[0] = line("lid", proto.TamperClosed, 1)
		b.wantState(b.attest(), result.Warning)
		b.device.Tamper[0] = line("lid", proto.TamperClosed, 0) // the agent was started again
		b.wantState(b.attest(), result.Trusted)
	})
}
