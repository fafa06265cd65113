package proto

import (
	"strings"
	"testing"
)

var id = strings.Repeat("0123456789abcdef", 4)

var leaves = []Leaf{
	UpEnroll, UpEvidence, UpBlob, UpState, UpCapture,
	DownEnroll, DownChallenge, DownWant, DownReceipt, DownCapture, Result,
}

func TestTopics(t *testing.T) {
	for _, leaf := range leaves {
		a := Address{Tenant: "acme-1", Device: id, Leaf: leaf}
		if want := "probity/v1/acme-1/" + id + "/" + string(leaf); a.String() != want {
			t.Errorf("String = %q, want %q", a, want)
		}
		got, err := ParseAddress(a.String())
		if err != nil || got != a {
			t.Errorf("ParseAddress(%q) = %+v, %v", a, got, err)
		}
		if n := strings.Count(a.String(), "/"); n > 7 {
			t.Errorf("topic %q has %d slashes, brokers allow 7", a, n)
		}
	}
	if got, want := (Address{Tenant: "acme", Device: id}).Down(), "probity/v1/acme/"+id+"/dn/#"; got != want {
		t.Errorf("Down = %q, want %q", got, want)
	}
}

func TestForeignTopics(t *testing.T) {
	for _, topic := range []string{
		"", "probity", "probity/v1/", "probity/v2/acme/" + id + "/up/state", "/probity/v1/acme/" + id + "/up/state",
		"probity/v1//" + id + "/up/state", "probity/v1/acme//up/state", "probity/v1/acme/" + id, "probity/v1/acme/" + id + "/",
		"probity/v1/acme/" + id + "/up", "probity/v1/acme/" + id + "/up/", "probity/v1/acme/" + id + "/up/state/",
		"probity/v1/acme/" + id + "/up/states", "probity/v1/acme/" + id + "/UP/state", "probity/v1/acme/" + id + "/dn/config",
		"probity/v1/Acme/" + id + "/up/state", "probity/v1/-acme/" + id + "/up/state",
		"probity/v1/" + strings.Repeat("a", 33) + "/" + id + "/up/state",
		"probity/v1/+/" + id + "/up/state", "probity/v1/acme/+/up/state", "probity/v1/acme/" + id + "/up/#", AllUp,
		"probity/v1/acme/" + strings.ToUpper(id) + "/up/state", "probity/v1/acme/" + id[1:] + "/up/state",
		"probity/v1/acme/" + id + "0/up/state", "probity/v1/acme/" + id[1:] + "\x00/up/state",
		"probity/v1/acme/epoch", "$share/x/" + AllUp, "probity/v1/acme/../" + id + "/up/state",
	} {
		if a, err := ParseAddress(topic); err == nil || a != (Address{}) {
			t.Errorf("ParseAddress(%q) = %+v, %v, want an error and nothing", topic, a, err)
		}
	}
	long := strings.Repeat("x", 10_000)
	if _, err := ParseAddress(long); err == nil || len(err.Error()) > 200 {
		t.Error("the error repeats a long topic")
	}
}

func TestDeviceID(t *testing.T) {
	if got := DeviceID([]byte{1}); !ValidDevice(got) || got != Sum([]byte{1}).String() {
		t.Errorf("DeviceID = %q", got)
	}
	tpm, software := Hello{EKPublic: []byte{1}}, Hello{Software: []byte{2}}
	if tpm.DeviceID() != DeviceID([]byte{1}) || software.DeviceID() != DeviceID([]byte{2}) || software.HasTPM() {
		t.Error("a hello's device id is not that of its key")
	}
}

func FuzzTopic(f *testing.F) {
	for _, leaf := range leaves {
		f.Add(Address{Tenant: "acme", Device: id, Leaf: leaf}.String())
	}
	f.Add("probity/v1/acme/" + id + "/dn/config")
	f.Add(AllUp)
	f.Fuzz(func(t *testing.T, topic string) {
		a, err := ParseAddress(topic)
		if err != nil {
			if a != (Address{}) {
				t.Errorf("ParseAddress(%q) = %+v with an error", topic, a)
			}
			return
		}
		if a.String() != topic {
			t.Errorf("ParseAddress(%q) = %+v, which is %q", topic, a, a)
		}
		if !ValidTenant(a.Tenant) || !ValidDevice(a.Device) || strings.ContainsAny(topic, "+#$ \x00") {
			t.Errorf("ParseAddress accepted %q", topic)
		}
	})
}
