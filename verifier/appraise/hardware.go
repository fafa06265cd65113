package appraise

import (
	"fmt"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// maxHardware is how many pieces of hardware of a kind findings name; one more says how many there are.
const maxHardware = 8

const hardwareInventory = "hardware inventory"

// inventory compares the hardware that the device tells of with reference values, where these speak of it.
func (ap *appraisal) inventory() {
	if !ap.model.HasInventory() {
		return
	}
	item := ap.evidence.Claims.Platform
	if item.Unavailable != nil {
		ap.find("inventory-missing", hardwareInventory, "", item.Unavailable.Error())
		return
	}
	ap.strength.Platform = ap.asserted()
	if v := ap.part(result.Platform, *item.Content, ap.judgeInventory); v != nil {
		ap.take(result.Platform, v)
	}
}

func (ap *appraisal) judgeInventory(raw []byte) *partVerdict {
	var p proto.Platform
	if err := proto.Decode(raw, &p); err != nil {
		v := &partVerdict{}
		v.find("inventory-missing", hardwareInventory, "", err.Error())
		return v
	}
	return ap.fitting(result.Platform, (*reference.Compiled).HasInventory, func(c *reference.Compiled) *partVerdict {
		return compareInventory(c, p.Devices)
	})
}

func compareInventory(c *reference.Compiled, list []proto.BusDevice) *partVerdict {
	v := &partVerdict{reference: c, compared: true}
	if len(list) == 0 {
		v.compared = false
		v.find("inventory-missing", hardwareInventory, fmt.Sprintf("%d pieces of hardware", len(c.Inventory())), "none")
		return v
	}
	there := make(map[[2]string]bool, len(list))
	unknown, missing := 0, 0
	for _, d := range list {
		there[[2]string{d.Bus, d.Address}] = true
		if name, ok := c.Device(d.Bus, d.Address); !ok || name != d.Name {
			if unknown++; unknown <= maxHardware {
				v.find("inventory-unknown", d.Bus+" "+d.Address, name, d.Name)
			}
		}
	}
	for _, d := range c.Inventory() {
		if !there[[2]string{d.Bus, d.Address}] {
			if missing++; missing <= maxHardware {
				v.find("inventory-missing", d.Bus+" "+d.Address, d.Name, "")
			}
		}
	}
	if n := unknown - maxHardware; n > 0 {
		v.find("inventory-unknown", hardwareInventory, "", fmt.Sprintf("%d more", n))
	}
	if n := missing - maxHardware; n > 0 {
		v.find("inventory-missing", hardwareInventory, fmt.Sprintf("%d more", n), "")
	}
	return v
}

// tamper judges the contacts of the enclosure, of which each report tells anew.
func (ap *appraisal) tamper() {
	lines := ap.evidence.Claims.Tamper
	if len(lines) > 0 {
		ap.strength.Platform = ap.asserted()
	}
	told := make(map[string]bool, len(lines))
	for i := range lines {
		told[lines[i].Name] = true
		ap.line(&lines[i])
	}
	if !ap.model.HasTamper() {
		return
	}
	v := ap.fitting(result.Platform, (*reference.Compiled).HasTamper, func(c *reference.Compiled) *partVerdict {
		v := &partVerdict{reference: c, compared: len(lines) > 0}
		for _, name := range c.Tamper() {
			if !told[name] {
				v.find("tamper-missing", "tamper line "+name, "", "")
			}
		}
		return v
	})
	ap.take(result.Platform, v)
}

func (ap *appraisal) line(l *proto.TamperLine) {
	name := "tamper line " + l.Name
	switch {
	case l.Unavailable != nil:
		ap.find("tamper-unavailable", name, "closed", l.Unavailable.Error())
	case l.State != proto.TamperClosed:
		ap.find("tamper-open", name, "closed", "open")
	case l.Openings > 0:
		ap.find("tamper-opened", name, "never opened", times(l.Openings))
	}
}

func times(n uint32) string {
	if n == 1 {
		return "opened once"
	}
	return fmt.Sprintf("opened %d times", n)
}
