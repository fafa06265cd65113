package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/probity-attest/probity/proto"
)

// hook is where mochi asks. It is the only hook, so what it denies is denied.
type hook struct {
	mqtt.HookBase
	b *Broker
}

// ID implements mqtt.Hook.
func (h *hook) ID() string { return "probity" }

// Provides implements mqtt.Hook.
func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnPublish, mqtt.OnPublished, mqtt.OnWill,
		mqtt.OnDisconnect, mqtt.OnQosPublish, mqtt.OnPacketProcessed, mqtt.OnPacketSent, mqtt.OnPublishDropped:
		return true
	}
	return false
}

// of returns the connection of a client.
func of(cl *mqtt.Client) *conn {
	c, _ := cl.Net.Conn.(*conn)
	return c
}

// OnConnectAuthenticate decides who a client is. The checks, in order: MQTT 3.1.1; certificate or token, each with the
// client id that belongs to it; will; an older connection of the same device has ended.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	c := of(cl)
	if c == nil {
		return false
	}
	who, err := h.b.authenticate(c, pk)
	if err == nil && pk.Connect.WillFlag && (pk.Connect.WillRetain || !who.mayPublish(pk.Connect.WillTopic)) {
		err = fmt.Errorf("will on %q, retained %t, is not allowed", clip(pk.Connect.WillTopic), pk.Connect.WillRetain)
		h.b.stats.denied.Add(1)
	}
	if err == nil {
		c.who, c.key = who, h.b.keyOf(who)
		err = h.b.claim(c)
	}
	if err != nil {
		h.b.stats.unauthenticated.Add(1)
		h.b.log.Warn("client refused", "remote", cl.Net.Remote, "client_id", clip(pk.Connect.ClientIdentifier), "error", err)
		return false
	}
	// The id that mochi knows is ours: no client can choose one of another role or tenant. Sessions end with their
	// connection, whatever the client asks for: nothing piles up for clients that are away.
	cl.ID, cl.Properties.Clean = c.key, true
	c.client = cl
	c.trusted.Store(true)
	if who.role == enrolling {
		time.AfterFunc(maxEnrolling, func() { c.Close() })
	}
	h.b.log.Debug("client connected", "remote", cl.Net.Remote, "role", who.role, "tenant", who.tenant, "device", who.device)
	return true
}

// authenticate returns who the client is. Errors never contain the password.
func (b *Broker) authenticate(c *conn, pk packets.Packet) (principal, error) {
	if pk.ProtocolVersion != 4 {
		return principal{}, fmt.Errorf("MQTT protocol level %d, want 4 (MQTT 3.1.1)", pk.ProtocolVersion)
	}
	if c.flow != nil {
		return principal{role: verifier}, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, b.cfg.ConnectTimeout)
	defer cancel()
	var who principal
	var id string
	var err error
	if c.peer == nil && string(pk.Connect.Username) == readerName {
		return b.authenticateReader(ctx, pk)
	}
	if c.peer != nil {
		who.role = device
		who.tenant, who.device, err = b.cfg.Access.Device(ctx, c.peer)
		id = who.device
	} else {
		who.role, who.device = enrolling, string(pk.Connect.Username)
		id = "enroll-" + who.device
		switch {
		case !proto.ValidDevice(who.device):
			return principal{}, fmt.Errorf("neither client certificate nor a device id as user name: %q", clip(who.device))
		case len(pk.Connect.Password) == 0:
			return principal{}, errors.New("neither client certificate nor token")
		}
		who.tenant, err = b.cfg.Access.Token(ctx, string(pk.Connect.Password), who.device)
	}
	if err != nil {
		return principal{}, fmt.Errorf("%s: %w", who.role, err)
	}
	if !proto.ValidTenant(who.tenant) || !proto.ValidDevice(who.device) {
		return principal{}, fmt.Errorf("%s: not a tenant and device id: %q, %q", who.role, clip(who.tenant), clip(who.device))
	}
	if pk.Connect.ClientIdentifier != id {
		return principal{}, fmt.Errorf("%s %s: client id must be %q", who.role, who.device, id)
	}
	return who, nil
}

// readerName is the user name of whoever has an operator's token.
const readerName = "operator"

// authenticateReader admits an operator or relying party, under any client id: nobody's session can be taken over by it.
func (b *Broker) authenticateReader(ctx context.Context, pk packets.Packet) (principal, error) {
	tenant, err := b.cfg.Access.Operator(ctx, string(pk.Connect.Password))
	if err != nil {
		return principal{}, fmt.Errorf("%s: %w", reader, err)
	}
	if !proto.ValidTenant(tenant) {
		return principal{}, fmt.Errorf("%s: not a tenant: %q", reader, clip(tenant))
	}
	return principal{role: reader, tenant: tenant}, nil
}

// OnACLCheck is asked before a publication (write), for each filter of a subscription, and before each delivery. A filter
// that names one topic looks like a delivery: both follow from mayReceive.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	c := of(cl)
	if c == nil || !c.trusted.Load() {
		return false
	}
	var ok bool
	switch {
	case write:
		ok = c.who.mayPublish(topic)
	case c.flow != nil && c.who.mayReceive(topic):
		return c.flow.take(c.ctx)
	default:
		ok = c.who.maySubscribe(topic)
	}
	if !ok {
		h.deny(c, "topic is not allowed", "topic", clip(topic), "write", write)
	}
	return ok
}

// deny counts and logs a denial: a connection's first as a warning, so that a hostile client cannot flood the log.
func (h *hook) deny(c *conn, why string, args ...any) {
	h.b.stats.denied.Add(1)
	log := h.b.log.Debug
	if c.denials.Add(1) == 1 {
		log = h.b.log.Warn
	}
	log("denied: "+why, append(args, "role", c.who.role, "tenant", c.who.tenant, "device", c.who.device, "remote", c.RemoteAddr().String())...)
}

// OnPacketRead is asked about every packet. It slows down a client that sends too many, and disconnects one that sends
// what no conforming client does.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c := of(cl)
	if c == nil || !c.trusted.Load() {
		return pk, nil // the CONNECT; OnConnectAuthenticate comes next
	}
	if why := c.refuses(pk); why != "" {
		h.deny(c, why)
		return pk, packets.ErrRejectPacket
	}
	if t := pk.FixedHeader.Type; t == packets.Subscribe || t == packets.Unsubscribe {
		// mochi keeps the packet ids of both directions in one map and refuses a subscription whose id a message to the
		// client has. Nothing is sent twice within a session, so that message's entry is not needed any more.
		cl.State.Inflight.Delete(pk.PacketID)
	}
	if c.flow == nil && !c.limit.Allow() {
		h.b.stats.limited.Add(1)
		if err := c.limit.Wait(c.ctx); err != nil {
			return pk, packets.ErrRejectPacket
		}
	}
	return pk, nil
}

// refuses returns why a packet ends the connection, or "".
func (c *conn) refuses(pk packets.Packet) string {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if pk.FixedHeader.Retain && c.flow == nil {
			return "retained publication"
		}
		if !c.who.mayPublish(pk.TopicName) { // here and not only in OnACLCheck, after which mochi goes on with QoS 0
			return fmt.Sprintf("publication on %q", clip(pk.TopicName))
		}
	case packets.Subscribe, packets.Unsubscribe:
		if len(pk.Filters) > maxFilters {
			return fmt.Sprintf("%d topic filters in one packet, at most %d allowed", len(pk.Filters), maxFilters)
		}
		for _, f := range pk.Filters {
			if c.flow != nil && c.who.mayReceive(f.Filter) {
				return "a verifier subscribes to all devices or to none" // OnACLCheck could not tell it from a delivery
			}
		}
	case packets.Puback, packets.Pingreq, packets.Disconnect:
	default: // there is no QoS 2 and no MQTT 5 here
		return fmt.Sprintf("packet of type %d", pk.FixedHeader.Type)
	}
	return ""
}

// OnPublish lets only results be retained: a retained challenge or receipt would be delivered again long after its time.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if a, err := proto.ParseAddress(pk.TopicName); err != nil || a.Leaf != proto.Result {
		pk.FixedHeader.Retain = false
	}
	return pk, nil
}

// OnPublished counts.
func (h *hook) OnPublished(*mqtt.Client, packets.Packet) { h.b.stats.messagesIn.Add(1) }

// OnWill checks a will again when it is about to be published. mochi publishes the original if this returns an error, so a
// will that is not allowed becomes one that nobody can be subscribed to.
func (h *hook) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	if c := of(cl); c == nil || !c.trusted.Load() || will.Retain || !c.who.mayPublish(will.TopicName) {
		return mqtt.Will{}, nil
	}
	return will, nil
}

// OnDisconnect logs.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	if c := of(cl); c != nil {
		h.b.log.Debug("client disconnected", "remote", cl.Net.Remote, "role", c.who.role, "tenant", c.who.tenant, "device", c.who.device, "reason", err)
	}
}

// OnQosPublish is told that a message with QoS 1 waits for the client's PUBACK.
func (h *hook) OnQosPublish(cl *mqtt.Client, pk packets.Packet, _ int64, _ int) {
	c := of(cl)
	switch {
	case c == nil || pk.FixedHeader.Type != packets.Publish:
	case c.flow != nil:
		c.flow.mark(pk.PacketID)
	case cl.State.Inflight.Len() > maxUnacknowledged:
		h.b.stats.slow.Add(1)
		c.Close()
	}
}

// OnPacketProcessed gives back the slot of a message that a verifier acknowledged.
func (h *hook) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, _ error) {
	if c := of(cl); c != nil && c.flow != nil && pk.FixedHeader.Type == packets.Puback {
		c.flow.acknowledge(pk.PacketID)
	}
}

// OnPacketSent counts, and gives back the slot of a message without acknowledgement.
func (h *hook) OnPacketSent(cl *mqtt.Client, pk packets.Packet, _ []byte) {
	if pk.FixedHeader.Type != packets.Publish {
		return
	}
	h.b.stats.messagesOut.Add(1)
	if c := of(cl); c != nil && c.flow != nil && pk.FixedHeader.Qos == 0 {
		c.flow.give()
	}
}

// OnPublishDropped is told that a client's queue inside mochi is full: the client is disconnected, so that it notices.
func (h *hook) OnPublishDropped(cl *mqtt.Client, _ packets.Packet) {
	if c := of(cl); c != nil {
		h.b.stats.slow.Add(1)
		c.Close()
	}
}

// clip shortens what a stranger sent. slog escapes what is not printable.
func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "..."
	}
	return s
}
