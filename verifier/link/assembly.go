package link

import (
	"errors"
	"fmt"
	"sync"

	"github.com/probity-attest/probity/proto"
)

// assembly puts the chunks of wanted content together. Only what was asked for is accepted, in order and without gaps,
// and memory grows with what has come, not with what was announced. When all of it together becomes too much, the
// device that holds most loses what it sent: one that sends a lot and never ends cannot keep others from being heard.
type assembly struct {
	limit int // bytes of all devices

	mu      sync.Mutex
	devices map[string]*expected
	held    int
}

// expected is what was asked for of one device, with the bytes that have come.
type expected struct {
	contents map[proto.Digest][]byte
	held     int
}

func newAssembly(limit int) *assembly {
	return &assembly{limit: limit, devices: make(map[string]*expected)}
}

// want expects contents of a device, in place of those that were expected before. What has come of a content that is
// still wanted stays: the device goes on, or begins again at offset 0.
func (a *assembly) want(device string, digests []proto.Digest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.devices[device]
	a.drop(device)
	if len(a.devices) >= maxDevices {
		for other := range a.devices { // any: what it sends is asked for again
			a.drop(other)
			break
		}
	}
	e := &expected{contents: make(map[proto.Digest][]byte, len(digests))}
	for _, d := range digests[:min(len(digests), maxWanted)] {
		e.contents[d] = nil
		if before != nil {
			e.contents[d] = before.contents[d]
		}
	}
	for _, data := range e.contents {
		e.held += len(data)
	}
	a.held += e.held
	a.devices[device] = e
}

func (a *assembly) drop(device string) {
	if e := a.devices[device]; e != nil {
		a.held -= e.held
		delete(a.devices, device)
	}
}

// add takes a chunk. It returns the content when it is complete and has its digest.
func (a *assembly) add(device string, c *proto.Chunk) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.devices[device]
	if e == nil {
		return nil, fmt.Errorf("chunk of content %s that was not asked for", c.Digest)
	}
	data, ok := e.contents[c.Digest]
	switch {
	case !ok:
		return nil, fmt.Errorf("chunk of content %s that was not asked for", c.Digest)
	case c.Offset == 0:
		a.keep(e, c.Digest, nil)
		data = nil
	case int(c.Offset) != len(data):
		return nil, fmt.Errorf("chunk at %d, expected %d: content %s has to be sent again", c.Offset, len(data), c.Digest)
	}
	if !a.room(device, len(c.Data)) {
		return nil, errors.New("too much content on its way, that of this device was dropped: it is asked for again")
	}
	data = append(data, c.Data...)
	if len(data) < int(c.Size) {
		a.keep(e, c.Digest, data)
		return nil, nil
	}
	a.keep(e, c.Digest, nil)
	delete(e.contents, c.Digest)
	if len(e.contents) == 0 {
		a.drop(device)
	}
	if len(data) != int(c.Size) || proto.Sum(data) != c.Digest {
		return nil, fmt.Errorf("content does not have the digest %s", c.Digest)
	}
	return data, nil
}

// keep replaces what has come of a content.
func (a *assembly) keep(e *expected, d proto.Digest, data []byte) {
	grown := len(data) - len(e.contents[d])
	e.held += grown
	a.held += grown
	e.contents[d] = data
}

// room makes room for n more bytes of a device at the cost of whoever holds most, and reports whether that was another.
func (a *assembly) room(device string, n int) bool {
	for a.held+n > a.limit {
		greediest := device
		for other, e := range a.devices {
			if e.held > a.devices[greediest].held {
				greediest = other
			}
		}
		a.drop(greediest)
		if greediest == device {
			return false
		}
	}
	return true
}
