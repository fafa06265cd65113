package broker

import (
	"strings"

	"github.com/probity-attest/probity/proto"
)

// role is what a client is.
type role uint8

const (
	nobody    role = iota // not authenticated: may do nothing
	enrolling             // has a token: may talk about its enrolment
	device                // has a client certificate
	reader                // has an operator's token: hears the results of its tenant
	verifier              // is this process
)

// String returns the role for logs.
func (r role) String() string {
	return [...]string{"nobody", "enrolling", "device", "reader", "verifier"}[r]
}

// principal is an authenticated client. The zero value may do nothing.
type principal struct {
	role           role
	tenant, device string
}

// owns reports whether a is one of the principal's own topics.
func (p principal) owns(a proto.Address) bool { return a.Tenant == p.tenant && a.Device == p.device }

// mayPublish reports whether the principal may publish to topic. Everything that is not one of the protocol's topics is
// denied to everybody.
func (p principal) mayPublish(topic string) bool {
	a, err := proto.ParseAddress(topic)
	if err != nil {
		return false
	}
	switch p.role {
	case verifier:
		return strings.HasPrefix(string(a.Leaf), "dn/") || a.Leaf == proto.Result
	case device:
		return p.owns(a) && strings.HasPrefix(string(a.Leaf), "up/")
	case enrolling:
		return p.owns(a) && a.Leaf == proto.UpEnroll
	}
	return false
}

// mayReceive reports whether a message with this topic may be delivered to the principal.
func (p principal) mayReceive(topic string) bool {
	a, err := proto.ParseAddress(topic)
	if err != nil {
		return false
	}
	switch p.role {
	case verifier:
		return strings.HasPrefix(string(a.Leaf), "up/")
	case device:
		return p.owns(a) && strings.HasPrefix(string(a.Leaf), "dn/")
	case reader:
		return a.Tenant == p.tenant && a.Leaf == proto.Result
	case enrolling:
		return p.owns(a) && a.Leaf == proto.DownEnroll
	}
	return false
}

// maySubscribe reports whether the principal may subscribe with filter. Filters are compared as a whole: the only
// wildcards that anybody may use are those named here.
func (p principal) maySubscribe(filter string) bool {
	switch p.role {
	case verifier:
		return unshared(filter) == proto.AllUp
	case device:
		return filter == proto.Address{Tenant: p.tenant, Device: p.device}.Down() || p.mayReceive(filter)
	case reader:
		return filter == proto.Results(p.tenant) || p.mayReceive(filter)
	}
	return p.mayReceive(filter)
}

// unshared removes the prefix of a shared subscription, "$share/GROUP/".
func unshared(filter string) string {
	rest, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return filter
	}
	if _, plain, ok := strings.Cut(rest, "/"); ok {
		return plain
	}
	return filter
}
