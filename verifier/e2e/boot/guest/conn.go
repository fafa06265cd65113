package guest

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Pace is how fast one side sends. The zero Pace is no pace: take HostPace or GuestPace.
type Pace struct {
	Data    int           // bytes of a message in one frame, at most MaxFrameData
	Window  int           // frames sent without being acknowledged
	Resend  time.Duration // first wait for an acknowledgement; doubled up to 4 times as long while none comes
	Silence time.Duration // after which a peer that acknowledges nothing is given up; zero: never
}

// Paces of both sides, found by measuring. What the host sends must fit the guest's terminal (4,095 bytes) with its
// acknowledgements, since an emulated UART has no flow control towards the kernel; the guest writes as fast as it can,
// since the host always reads.
var (
	HostPace  = Pace{Data: 768, Window: 3, Resend: time.Second, Silence: 45 * time.Second}
	GuestPace = Pace{Data: 3 << 10, Window: 16, Resend: time.Second}
)

// Errors that end a Conn.
var (
	ErrSilent = errors.New("the other side of the console does not answer")
	ErrClosed = errors.New("the console is closed")
)

// Conn is one side of a console. It owns the writing; whoever reads the lines gives the frames among them to Handle.
type Conn struct {
	w       io.Writer
	pace    Pace
	deliver func(message []byte)

	mu   sync.Mutex
	wake chan struct{} // for the writer: something changed
	done chan struct{}
	err  error

	// Sending: queue holds the frames of base and later; next is the one to be written next.
	queue   []*Frame
	base    uint32 // number of queue[0]
	next    uint32
	last    uint32    // number of the newest frame in queue
	changed time.Time // when the window last moved or was last sent again
	moved   time.Time // when the peer last acknowledged something new, or the queue became not empty
	wait    time.Duration

	// Receiving.
	received uint32 // last frame that came in order
	message  []byte // its beginning
	ackDue   bool
	askAgain bool
	asked    uint32 // received when a resend was last asked for, plus 1
}

// NewConn starts the writer of a console. deliver is called by Handle with every whole message, in order; it must not
// block for long.
func NewConn(w io.Writer, p Pace, deliver func(message []byte)) *Conn {
	c := &Conn{
		w: w, pace: p, deliver: deliver,
		wake: make(chan struct{}, 1), done: make(chan struct{}), base: 1, next: 1, wait: p.Resend,
	}
	go c.write()
	return c
}

// Send queues a message. It does not wait until the message has arrived: an answer says that.
func (c *Conn) Send(message []byte) error {
	if len(message) == 0 || len(message) > MaxMessage {
		return fmt.Errorf("send %d bytes: between 1 and %d are allowed", len(message), MaxMessage)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if len(c.queue) == 0 {
		c.moved = time.Now()
	}
	for len(message) > 0 {
		n := min(len(message), c.pace.Data)
		c.last++
		c.queue = append(c.queue, &Frame{Number: c.last, Data: message[:n:n], More: n < len(message)})
		message = message[n:]
	}
	c.poke()
	return nil
}

// Handle takes a frame as SplitLine returns it. Damage is not an error: it is asked for again.
func (c *Conn) Handle(frame []byte) {
	f, err := ParseFrame(frame)
	c.mu.Lock()
	if err != nil {
		c.again()
		c.mu.Unlock()
		return
	}
	c.acknowledged(f)
	var whole []byte
	if f.Number > 0 {
		whole = c.take(f)
	}
	c.mu.Unlock()
	if whole != nil {
		c.deliver(whole)
	}
}

// take takes a frame with data and returns the message that it completes, if it does.
func (c *Conn) take(f *Frame) []byte {
	c.ackDue = true
	c.poke()
	if f.Number != c.received+1 {
		if f.Number > c.received+1 {
			c.again()
		}
		return nil // else it came twice: only the acknowledgement was lost
	}
	c.received++
	if len(c.message)+len(f.Data) > MaxMessage {
		c.fail(fmt.Errorf("the other side sends a message of over %d bytes", MaxMessage))
		return nil
	}
	c.message = append(c.message, f.Data...)
	if f.More {
		return nil
	}
	whole := c.message
	c.message = nil
	return whole
}

// again asks for what is missing, once until something comes in order.
func (c *Conn) again() {
	if c.asked == c.received+1 {
		return
	}
	c.asked = c.received + 1
	c.ackDue, c.askAgain = true, true
	c.poke()
}

// acknowledged drops what has arrived.
func (c *Conn) acknowledged(f *Frame) {
	if n := f.Ack - c.base + 1; f.Ack >= c.base && f.Ack <= c.last {
		c.queue = c.queue[n:]
		c.base = f.Ack + 1
		c.next = max(c.next, c.base)
		c.changed = time.Now()
		c.moved = c.changed
		c.wait = c.pace.Resend
		c.poke()
	}
	if f.Resend && f.Ack+1 == c.base {
		c.next = c.base
		c.changed = time.Now()
		c.poke()
	}
}

// Close ends the Conn with a reason: calls of Send then return it. It does not close the console.
func (c *Conn) Close(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reason == nil {
		reason = ErrClosed
	}
	c.fail(reason)
}

func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
		close(c.done)
	}
}

// Done is closed when the Conn has ended; Err then says why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the Conn ended.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Flush waits until everything sent has been acknowledged, or until timeout or the end.
func (c *Conn) Flush(timeout time.Duration) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c.mu.Lock()
		left, err := len(c.queue), c.err
		c.mu.Unlock()
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("%w: %d frames are not acknowledged", ErrSilent, left)
		}
	}
}

func (c *Conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write writes what is due until the Conn ends.
func (c *Conn) write() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var line []byte
	for {
		f, wait := c.pick()
		if f != nil {
			var err error
			if line, err = f.Append(line[:0]); err == nil {
				_, err = c.w.Write(line)
			}
			if err != nil {
				c.Close(fmt.Errorf("write to the console: %w", err))
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-c.done:
			return
		}
		select {
		case <-c.done:
			return
		default:
		}
	}
}

// pick returns the next frame to be written, or nil and how long to wait for a change.
func (c *Conn) pick() (*Frame, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, 0
	}
	now := time.Now()
	wait := time.Hour
	if c.base < c.next { // something is on its way
		if c.pace.Silence > 0 && now.Sub(c.moved) >= c.pace.Silence {
			c.fail(fmt.Errorf("%w: nothing for %s", ErrSilent, c.pace.Silence))
			return nil, 0
		}
		if wait = c.wait - now.Sub(c.changed); wait <= 0 {
			c.next, c.changed = c.base, now
			c.wait = min(2*c.wait, 4*c.pace.Resend)
			wait = c.wait
		}
	}
	if c.next <= c.last && c.next-c.base < uint32(c.pace.Window) {
		f := *c.queue[c.next-c.base]
		if c.next == c.base {
			c.changed = now
		}
		c.next++
		return c.stamp(&f), 0
	}
	if c.ackDue {
		return c.stamp(new(Frame)), 0
	}
	return nil, wait
}

// stamp adds the acknowledgement, which goes with every frame.
func (c *Conn) stamp(f *Frame) *Frame {
	f.Ack, f.Resend = c.received, c.askAgain
	c.ackDue, c.askAgain = false, false
	return f
}
