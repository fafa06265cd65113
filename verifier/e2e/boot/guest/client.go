package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Client is the host's side: it asks, the guest answers. Several calls may be under way at once.
type Client struct {
	conn *Conn

	mu      sync.Mutex
	nextID  uint32
	waiting map[uint32]chan *Message
	hello   chan Hello
}

// NewClient makes the host's side of a console. Give every frame that the guest writes to Handle.
func NewClient(w io.Writer, p Pace) *Client {
	c := &Client{waiting: make(map[uint32]chan *Message), hello: make(chan Hello, 1)}
	c.conn = NewConn(w, p, c.take)
	return c
}

// Handle takes a frame as SplitLine returns it.
func (c *Client) Handle(frame []byte) { c.conn.Handle(frame) }

// Close ends all calls with this reason.
func (c *Client) Close(reason error) { c.conn.Close(reason) }

// take gives a message to whom it is for.
func (c *Client) take(b []byte) {
	m, err := ParseMessage(b)
	if err != nil {
		c.Close(fmt.Errorf("the guest sends what is no message: %w", err))
		return
	}
	if m.ID == 0 {
		var h Hello
		if err := decode(m.Args, &h); err != nil {
			c.Close(fmt.Errorf("the guest's hello: %w", err))
			return
		}
		select {
		case c.hello <- h:
		default: // a second hello: the conversation began anew, and what is under way fails by its patience
		}
		return
	}
	c.mu.Lock()
	answer := c.waiting[m.ID]
	delete(c.waiting, m.ID)
	c.mu.Unlock()
	if answer != nil { // else its caller gave up
		answer <- m
	}
}

// Hello waits for the guest's first message.
func (c *Client) Hello(ctx context.Context) (*Hello, error) {
	select {
	case h := <-c.hello:
		if h.Version != Version {
			return nil, fmt.Errorf("the guest speaks version %d of the protocol, want %d: build its image again", h.Version, Version)
		}
		return &h, nil
	case <-c.conn.Done():
		return nil, c.conn.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Call asks for an operation and waits for the answer, whose result it decodes into result (nil: there is none) and
// whose body it returns. What fails in the guest is an *Error; what fails on the way is another error.
func (c *Client) Call(ctx context.Context, op Op, args any, body []byte, result any) ([]byte, error) {
	m := &Message{Op: op, Body: body}
	if args != nil {
		var err error
		if m.Args, err = json.Marshal(args); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	answer := make(chan *Message, 1)
	c.mu.Lock()
	c.nextID++
	m.ID = c.nextID
	c.waiting[m.ID] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, m.ID)
		c.mu.Unlock()
	}()
	b, err := m.Encode()
	if err == nil {
		err = c.conn.Send(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	select {
	case m = <-answer:
	case <-c.conn.Done():
		return nil, fmt.Errorf("%s: %w", op, c.conn.Err())
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	if m.Err != nil {
		return nil, m.Err
	}
	if result == nil {
		return m.Body, nil
	}
	if m.Args == nil {
		return nil, fmt.Errorf("%s: %w", op, errNoResult)
	}
	if err := decode(m.Args, result); err != nil {
		return nil, fmt.Errorf("%s: result: %w", op, err)
	}
	return m.Body, nil
}

var errNoResult = errors.New("the answer has no result")
