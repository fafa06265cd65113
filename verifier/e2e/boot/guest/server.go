package guest

import (
	"encoding/json"
	"fmt"
	"io"
)

// Answer is what an operation gives.
type Answer struct {
	Result any    // encoded as JSON; nil: none
	Body   []byte // nil: none
	Then   func() // called when the answer is on its way; nil: nothing
}

// Handler does one operation: args and body are the request's. It is called for every request in a goroutine of its own.
type Handler func(op Op, args json.RawMessage, body []byte) (Answer, error)

// Server is the guest's side.
type Server struct {
	conn   *Conn
	handle Handler
}

// NewServer says hello and answers requests by h. Give every frame that the host writes to Handle.
func NewServer(w io.Writer, p Pace, hello Hello, h Handler) (*Server, error) {
	s := &Server{handle: h}
	s.conn = NewConn(w, p, s.take)
	hello.Version = Version
	return s, s.send(&Message{}, hello)
}

// Conn is the console: for Flush before the end, and for what ended it.
func (s *Server) Conn() *Conn { return s.conn }

// Handle takes a frame as SplitLine returns it.
func (s *Server) Handle(frame []byte) { s.conn.Handle(frame) }

func (s *Server) take(b []byte) {
	m, err := ParseMessage(b)
	if err != nil {
		s.conn.Close(fmt.Errorf("the host sends what is no message: %w", err))
		return
	}
	go s.answer(m)
}

func (s *Server) answer(m *Message) {
	a, err := s.handle(m.Op, m.Args, m.Body)
	if err == nil {
		err = s.send(&Message{ID: m.ID, Body: a.Body}, a.Result)
	}
	if err != nil {
		_ = s.send(&Message{ID: m.ID, Err: newError(m.Op, err)}, nil) // fails only where the console has ended
	}
	if a.Then != nil {
		a.Then()
	}
}

func (s *Server) send(m *Message, result any) error {
	if result != nil {
		var err error
		if m.Args, err = json.Marshal(result); err != nil {
			return err
		}
	}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	return s.conn.Send(b)
}

// Decode decodes the arguments of an operation strictly.
func Decode[T any](args json.RawMessage) (T, error) {
	var v T
	if err := decode(args, &v); err != nil {
		return v, fmt.Errorf("arguments: %w", err)
	}
	return v, nil
}
