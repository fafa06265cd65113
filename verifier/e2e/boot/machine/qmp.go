//go:build linux

package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// QMPError is a refusal of QEMU's (QEMU Machine Protocol Specification, section 2.4.2).
type QMPError struct {
	Command string `json:"-"`
	Class   string `json:"class"`
	Desc    string `json:"desc"`
}

// Error says what QEMU said.
func (e *QMPError) Error() string { return fmt.Sprintf("QMP %s: %s: %s", e.Command, e.Class, e.Desc) }

// qmp talks with QEMU itself. One command is under way at a time; events are dropped.
type qmp struct {
	mu      sync.Mutex
	conn    net.Conn
	answers chan qmpAnswer
	end     chan struct{} // closed when QEMU hung up
}

type qmpAnswer struct {
	Return json.RawMessage `json:"return"`
	Error  *QMPError       `json:"error"`
	ID     uint64          `json:"id"`
	Event  string          `json:"event"`
	QMP    json.RawMessage `json:"QMP"` // the greeting
}

// newQMP greets QEMU.
func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, answers: make(chan qmpAnswer, 1), end: make(chan struct{})}
	go q.read()
	if err := q.command(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, err
	}
	return q, nil
}

func (q *qmp) close() error { return q.conn.Close() }

func (q *qmp) read() {
	defer close(q.end)
	d := json.NewDecoder(bufio.NewReader(q.conn))
	for {
		var a qmpAnswer
		if d.Decode(&a) != nil {
			return
		}
		if a.Event != "" || a.QMP != nil {
			continue
		}
		select {
		case <-q.answers: // nobody waited for it
		default:
		}
		q.answers <- a
	}
}

var errHungUp = errors.New("QEMU hung up")

// command executes one command.
func (q *qmp) command(ctx context.Context, name string, args, result any) error {
	ctx, cancel := context.WithTimeout(ctx, controlTime)
	defer cancel()
	q.mu.Lock()
	defer q.mu.Unlock()
	b, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{name, args})
	if err != nil {
		return fmt.Errorf("QMP %s: %w", name, err)
	}
	if _, err := q.conn.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("QMP %s: %w", name, err)
	}
	select {
	case a := <-q.answers:
		if a.Error != nil {
			a.Error.Command = name
			return a.Error
		}
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(a.Return, result); err != nil {
			return fmt.Errorf("QMP %s: %w", name, err)
		}
		return nil
	case <-q.end:
		return fmt.Errorf("QMP %s: %w", name, errHungUp)
	case <-ctx.Done():
		return fmt.Errorf("QMP %s: no answer: %w", name, ctx.Err())
	}
}

// qtest talks with QEMU's interface for tests of devices (QEMU's documentation, "QTest Device Emulation Testing
// Framework"), which drives inputs that have no property for QMP.
type qtest struct {
	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
}

func newQTest(conn net.Conn) *qtest { return &qtest{conn: conn, r: bufio.NewReader(conn)} }

func (q *qtest) close() error { return q.conn.Close() }

// setInput drives an input of a device.
func (q *qtest) setInput(ctx context.Context, path, name string, number uint32, high bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, controlTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = q.conn.Close() })
	defer stop()
	level := 0
	if high {
		level = 1
	}
	if _, err := fmt.Fprintf(q.conn, "set_irq_in %s %s %d %d\n", path, name, number, level); err != nil {
		return fmt.Errorf("qtest: %w", err)
	}
	answer, err := q.r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("qtest: %w", err)
	}
	if answer = strings.TrimSpace(answer); answer != "OK" {
		return fmt.Errorf("qtest: set_irq_in %s %s %d: %s", path, name, number, answer)
	}
	return nil
}
