package link

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/probity-attest/probity/proto"
)

// read takes in packets until the connection ends. A broker answers every ping, so that silence for two intervals means
// that the connection is dead, whatever TCP believes.
func (c *connection) read() {
	for {
		c.conn.SetReadDeadline(time.Now().Add(2 * c.ping)) //nolint:errcheck // a closed connection shows in the next line
		p, err := packets.ReadPacket(c.in)
		if err == nil {
			err = c.handle(p)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *connection) handle(p packets.ControlPacket) error {
	switch p := p.(type) {
	case *packets.PublishPacket:
		if p.Qos > 1 {
			return errors.New("broker sends QoS 2, which was not asked for")
		}
		c.receive(p)
		if p.Qos == 1 {
			a := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
			a.MessageID = p.MessageID
			c.enqueue(a)
		}
	case *packets.PubackPacket:
		c.settle(p.MessageID, nil)
	case *packets.SubackPacket:
		var err error
		if len(p.ReturnCodes) != 1 || p.ReturnCodes[0] > 2 { // 3.1.1, section 3.9.3: 0x80 is failure
			err = errRefused
		}
		c.settle(p.MessageID, err)
	case *packets.PingrespPacket:
	default:
		return fmt.Errorf("broker sends %T", p)
	}
	return nil
}

// receive sorts a message in. It never blocks.
func (c *connection) receive(p *packets.PublishPacket) {
	a, err := proto.ParseAddress(p.TopicName)
	switch {
	case err != nil, a.Tenant != c.self.Tenant, a.Device != c.self.Device:
		c.log.Warn("message on a topic that is not ours", "topic", p.TopicName)
	case p.Retain:
		c.log.Warn("retained message ignored: nothing in this conversation may be old", "topic", p.TopicName)
	default:
		select {
		case c.inbox <- message{leaf: a.Leaf, payload: p.Payload}:
		default:
			c.log.Warn("message dropped: too many at once", "topic", p.TopicName)
		}
	}
}

// write sends packets and pings until the connection ends.
func (c *connection) write() {
	tick := time.NewTicker(c.ping)
	defer tick.Stop()
	for {
		var p packets.ControlPacket
		select {
		case <-c.ended:
			return
		case p = <-c.out:
		case <-tick.C:
			p = packets.NewControlPacket(packets.Pingreq)
		}
		c.conn.SetWriteDeadline(time.Now().Add(c.limit)) //nolint:errcheck // a closed connection shows in the next line
		err := p.Write(c.conn)
		if _, bye := p.(*packets.DisconnectPacket); bye && err == nil {
			err = net.ErrClosed
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}
