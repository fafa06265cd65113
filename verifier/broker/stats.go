package broker

import "sync/atomic"

// Stats are the broker's counters since it started, except for the first two, which are numbers of now.
type Stats struct {
	Connections     int   // from the network
	Sessions        int   // authenticated, the verifier included
	Refused         int64 // connections over a limit
	Handshakes      int64 // TLS handshakes that failed
	Unauthenticated int64 // clients without valid certificate or token, or with a forbidden will
	Denied          int64 // publications, subscriptions and wills that are not allowed
	RateLimited     int64 // packets that had to wait
	Slow            int64 // clients that were disconnected because they did not read or acknowledge
	Panics          int64 // faults in the MQTT library that ended one connection
	MessagesIn      int64 // publications received
	MessagesOut     int64 // publications sent
	BytesIn         int64
	BytesOut        int64
}

type counters struct {
	refused, handshakes, unauthenticated, denied, limited, slow, panics, messagesIn, messagesOut, bytesIn, bytesOut atomic.Int64
}

// Stats returns the counters.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	connections, sessions := len(b.open), len(b.sessions)
	b.mu.Unlock()
	c := &b.stats
	return Stats{
		Connections: connections, Sessions: sessions, Refused: c.refused.Load(), Handshakes: c.handshakes.Load(),
		Unauthenticated: c.unauthenticated.Load(), Denied: c.denied.Load(), RateLimited: c.limited.Load(), Slow: c.slow.Load(),
		Panics: c.panics.Load(), MessagesIn: c.messagesIn.Load(), MessagesOut: c.messagesOut.Load(), BytesIn: c.bytesIn.Load(),
		BytesOut: c.bytesOut.Load(),
	}
}
