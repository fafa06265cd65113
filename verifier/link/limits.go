package link

import (
	"time"

	"github.com/probity-attest/probity/proto"
)

// Limits on what devices can make this package hold or do. Those of messages are in package proto.
const (
	// maxWanted is the most contents that are expected of one device, maxDevices the most devices of which any are.
	maxWanted  = 8
	maxDevices = 10_000
	// maxAssembly is the most bytes of content that all devices together have on its way.
	maxAssembly = 4 * proto.MaxIMASegment
	// queueSize is the most messages that one worker has waiting, maxQueued the most bytes of messages that all have.
	queueSize = 1024
	maxQueued = 64 << 20
	// handleTimeout is how long one message may take. It ends what waits for a store or a broker that does not answer,
	// so that the worker's other devices get their turn.
	handleTimeout = 30 * time.Second
)

// Tuning of the connection to the broker.
const (
	defaultWorkers = 32
	connectTimeout = 10 * time.Second
	publishTimeout = 30 * time.Second
	writeTimeout   = 10 * time.Second
	farewell       = 250 // milliseconds for DISCONNECT
	minBackoff     = 500 * time.Millisecond
	maxBackoff     = 30 * time.Second
	qos            = 1
	refused        = 0x80 // SUBACK return code (MQTT 3.1.1, section 3.9.3)
)
