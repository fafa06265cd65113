package broker

import (
	"strings"
	"testing"

	"github.com/probity-attest/probity/proto"
)

var everybody = []principal{
	{},
	{role: verifier},
	{device, "t", id(1)},
	{enrolling, "t", id(1)},
	{tenant: "t", device: id(1)},
	{role: reader, tenant: "t"},
}

func TestPrincipalRules(t *testing.T) {
	leaves := []proto.Leaf{
		proto.UpEnroll, proto.UpEvidence, proto.UpBlob, proto.UpState, proto.DownEnroll, proto.DownChallenge, proto.DownWant,
		proto.DownReceipt, proto.Result,
	}
	for _, tenant := range []string{"t", "other"} {
		for _, n := range []int{1, 2} {
			own := tenant == "t" && n == 1
			for _, leaf := range leaves {
				up, down := strings.HasPrefix(string(leaf), "up/"), strings.HasPrefix(string(leaf), "dn/")
				enrol := leaf == proto.UpEnroll || leaf == proto.DownEnroll
				publish := []bool{false, down || leaf == proto.Result, own && up, own && up && enrol, false, false}
				receive := []bool{false, up, own && down, own && down && enrol, false, tenant == "t" && leaf == proto.Result}
				for i, p := range everybody {
					if got := p.mayPublish(topic(tenant, n, leaf)); got != publish[i] {
						t.Errorf("%v mayPublish(%s) = %t", p, topic(tenant, n, leaf), got)
					}
					if got := p.mayReceive(topic(tenant, n, leaf)); got != receive[i] {
						t.Errorf("%v mayReceive(%s) = %t", p, topic(tenant, n, leaf), got)
					}
				}
			}
		}
	}
}

// FuzzPrincipal checks for any text that a device reaches only what begins with its own tenant and id, and nobody else
// anything that is not one of the protocol's topics.
func FuzzPrincipal(f *testing.F) {
	for _, topic := range denied() {
		f.Add(topic)
	}
	f.Add(topic("t", 1, proto.UpEvidence))
	f.Add(proto.Address{Tenant: "t", Device: id(1)}.Down())
	f.Add(proto.AllUp)
	f.Add("$share/g/" + proto.AllUp)
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range everybody {
			may := p.mayPublish(s) || p.mayReceive(s) || p.maySubscribe(s)
			_, err := proto.ParseAddress(s)
			switch {
			case !may:
			case p.role == nobody:
				t.Errorf("nobody reaches %q", s)
			case p.role == reader && s == proto.Results("t"):
			case p.role == reader && (p.mayPublish(s) || !strings.HasPrefix(s, "probity/v1/t/") || !strings.HasSuffix(s, "/result")):
				t.Errorf("%v reaches %q", p, s)
			case p.role != verifier && p.role != reader && !strings.HasPrefix(s, "probity/v1/t/"+id(1)+"/"):
				t.Errorf("%v reaches %q", p, s)
			case p.role != verifier && strings.ContainsAny(s, "+") || strings.Contains(strings.TrimSuffix(s, "/#"), "#"):
				t.Errorf("%v reaches %q with a wildcard", p, s)
			case err != nil && !p.maySubscribe(s):
				t.Errorf("%v may use %q, which is no topic", p, s)
			}
		}
	})
}
