package proto

import (
	"fmt"
	"strings"
)

// Leaf is the part of a topic below the device.
type Leaf string

// Leaves of the conversation. "up" is written by the device only, "dn" and "result" by the verifier only.
const (
	UpEnroll      Leaf = "up/enroll"
	UpEvidence    Leaf = "up/evidence"
	UpBlob        Leaf = "up/blob"
	UpState       Leaf = "up/state"
	UpCapture     Leaf = "up/capture"
	DownEnroll    Leaf = "dn/enroll"
	DownChallenge Leaf = "dn/challenge"
	DownWant      Leaf = "dn/want"
	DownReceipt   Leaf = "dn/receipt"
	DownCapture   Leaf = "dn/capture"
	Result        Leaf = "result"
)

const (
	topicPrefix  = "probity/v1/"
	maxTenant    = 32
	deviceIDSize = 64
	// AllUp is the filter of a verifier: everything that any device of any tenant sends.
	AllUp = topicPrefix + "+/+/up/#"
)

// Address names one topic of one device.
type Address struct {
	Tenant string // lower-case letters, digits and "-", 1 to 32 bytes
	Device string // 64 lower-case hexadecimal digits
	Leaf   Leaf
}

// String returns the topic.
func (a Address) String() string {
	return topicPrefix + a.Tenant + "/" + a.Device + "/" + string(a.Leaf)
}

// Down returns the filter with which the device of a subscribes to all that is meant for it.
func (a Address) Down() string { return topicPrefix + a.Tenant + "/" + a.Device + "/dn/#" }

// Results returns the filter with which a relying party subscribes to the newest results of all devices of a tenant.
func Results(tenant string) string { return topicPrefix + tenant + "/+/" + string(Result) }

// ParseAddress splits a topic. It fails on everything that is not exactly one of this protocol's topics.
func ParseAddress(topic string) (Address, error) {
	rest, ok := strings.CutPrefix(topic, topicPrefix)
	if !ok {
		return Address{}, fmt.Errorf("topic %q: want prefix %s", clip(topic), topicPrefix)
	}
	tenant, rest, _ := strings.Cut(rest, "/")
	device, leaf, _ := strings.Cut(rest, "/")
	if !ValidTenant(tenant) {
		return Address{}, fmt.Errorf("topic %q: not a tenant: %q", clip(topic), clip(tenant))
	}
	if !ValidDevice(device) {
		return Address{}, fmt.Errorf("topic %q: not a device id: want %d lower-case hexadecimal digits", clip(topic), deviceIDSize)
	}
	switch l := Leaf(leaf); l {
	case UpEnroll, UpEvidence, UpBlob, UpState, UpCapture,
		DownEnroll, DownChallenge, DownWant, DownReceipt, DownCapture, Result:
		return Address{Tenant: tenant, Device: device, Leaf: l}, nil
	}
	return Address{}, fmt.Errorf("topic %q: unknown leaf %q", clip(topic), clip(leaf))
}

// ValidTenant reports whether s may name a tenant: 1 to 32 of a-z, 0-9 and "-", not starting with "-".
func ValidTenant(s string) bool {
	if s == "" || len(s) > maxTenant || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// ValidDevice reports whether s is a device id: the lower-case hexadecimal SHA-256 of the EK's public area.
func ValidDevice(s string) bool {
	if len(s) != deviceIDSize {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// DeviceID returns the id of the device whose endorsement key has this public area (TPMT_PUBLIC), or, for a device
// without a TPM, whose software key has this SubjectPublicKeyInfo.
func DeviceID(public []byte) string { return Sum(public).String() }

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
