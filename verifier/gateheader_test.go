package verifier

import (
	"strings"
	"testing"
)

// The header in which a proxy names a device must be one that it can set for us alone.
func TestGateHeader(t *testing.T) {
	for name, ok := range map[string]bool{
		"": true, "x-device-id": true, "X-Probity-Device": true, "Authorization": false, "cookie": false, "host": false,
		"x device": false, "x-device:": false, "x-dévice": false, "x\r\ny": false, strings.Repeat("x", 65): false,
	} {
		c := DefaultConfig()
		c.API.GateHeader = name
		if err := c.Check(); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "api.gate-header") {
			t.Errorf("Check() with api.gate-header %q = %v, want fine: %v", name, err, ok)
		}
	}
}
