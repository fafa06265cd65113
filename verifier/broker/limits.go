package broker

import (
	"net"
	"net/netip"
	"time"

	"github.com/probity-attest/probity/proto"
)

// Limits of the protocol: what no conforming client exceeds. A client that does is disconnected.
const (
	// maxPacket is the largest MQTT packet in bytes: a message, its topic and the MQTT frame.
	maxPacket = proto.MaxMessage + 512
	// maxBeforeConnect is how many bytes a client may send before it is authenticated: a CONNECT with a will.
	maxBeforeConnect = 16 << 10
	// maxFilters is the most topic filters in one SUBSCRIBE or UNSUBSCRIBE. A device has five that it may subscribe to.
	maxFilters = 8
	// maxUnacknowledged is the most messages that a device may leave without PUBACK.
	maxUnacknowledged = 256
	// maxEnrolling is how long a client with a token may stay connected. Agents come back by themselves.
	maxEnrolling = time.Hour
	// window is the most messages on their way to one verifier. Who publishes more waits until some are acknowledged, so
	// that none is dropped.
	window = 512
	// closing is how long the last packets to a client that is being disconnected may take.
	closing = 5 * time.Second
)

// Defaults of Config.
const (
	defaultAddress        = ":8883"
	defaultConnections    = 200_000
	defaultPerAddress     = 20_000
	defaultPending        = 4096
	defaultConnectTimeout = 15 * time.Second
	defaultWriteTimeout   = 30 * time.Second
	defaultRate           = 50
	defaultBurst          = 500
	defaultQueue          = 1 << 20
)

// origin is the address that connections are counted by: an IPv4 address or an IPv6 /64, which is what one site has.
func origin(a net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := ap.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // the length is valid for the family
	return p
}
