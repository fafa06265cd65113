package link

import (
	"fmt"
	"io"

	"github.com/probity-attest/probity/proto"
)

// maxPacket is the largest MQTT packet that is read, in bytes: a message, its topic and their frame.
const maxPacket = proto.MaxMessage + 512

// guard is a reader that follows the framing of MQTT (3.1.1, section 2.2) and fails before a packet over maxPacket is
// passed on: the decoder behind it would allocate whatever length a packet announces, up to 256 MiB.
type guard struct {
	from  io.Reader
	frame frame
}

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.from.Read(p)
	if err == nil {
		err = g.frame.follow(p[:n])
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// frame is a position in a stream of MQTT packets.
type frame struct {
	inLength bool // reading the remaining length
	shift    uint
	length   int
	left     int // bytes of the packet's rest that are still to come
}

func (f *frame) follow(b []byte) error {
	for len(b) > 0 {
		switch {
		case f.left > 0:
			n := min(f.left, len(b))
			f.left -= n
			b = b[n:]
		case !f.inLength: // first byte: type and flags
			*f = frame{inLength: true}
			b = b[1:]
		default: // remaining length: 7 bits a byte, least significant first, at most 4 bytes
			f.length |= int(b[0]&0x7f) << f.shift
			f.shift += 7
			more := b[0]&0x80 != 0
			b = b[1:]
			if f.length > maxPacket || more && f.shift > 21 {
				return fmt.Errorf("broker sends a packet of more than %d bytes", maxPacket)
			}
			if !more {
				f.inLength, f.left = false, f.length
			}
		}
	}
	return nil
}
