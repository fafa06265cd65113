package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// converse connects a client with a server that answers by h, over lines that suffer a fault.
func converse(t *testing.T, f fault, hello Hello, h Handler) *Client {
	t.Helper()
	down, toGuest := io.Pipe()
	up, toHost := io.Pipe()
	c := NewClient(toGuest, HostPace)
	s, err := NewServer(toHost, GuestPace, hello, h)
	if err != nil {
		t.Fatal(err)
	}
	carry := func(r io.Reader, handle func([]byte)) {
		lines := Splitter{Line: func(b []byte) {
			if _, frame := SplitLine(b); frame != nil {
				handle(frame)
			}
		}}
		whole := Splitter{Line: func(b []byte) {
			if b = append(b, '\n'); f != nil {
				b = f(b)
			}
			_, _ = lines.Write(b)
		}}
		_, _ = io.Copy(&whole, r)
	}
	go carry(down, s.Handle)
	go carry(up, c.Handle)
	t.Cleanup(func() {
		c.Close(nil)
		s.Conn().Close(nil)
		_ = errors.Join(toGuest.Close(), toHost.Close())
	})
	return c
}

// echo answers what it is asked.
func echo(_ Op, args json.RawMessage, body []byte) (Answer, error) {
	return Answer{Result: args, Body: body}, nil
}

func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := Hello{Kernel: "6.1", Machine: "armv7l", Uptime: time.Second, Problems: []string{"no network"}}
		c := converse(t, nil, want, echo)
		got, err := c.Hello(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want.Version = Version
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("Hello (-want +got):\n%s", diff)
		}
		var calls sync.WaitGroup
		for i := range 20 {
			calls.Go(func() {
				args := FileArgs{Path: fmt.Sprint("/", i)}
				body := bytes.Repeat([]byte{byte(i), '\n', 0}, i*100)
				var result FileArgs
				b, err := c.Call(t.Context(), OpRead, args, body, &result)
				if err != nil || result != args || !bytes.Equal(b, body) {
					t.Errorf("Call %d = %+v, %d bytes, %v", i, result, len(b), err)
				}
			})
		}
		calls.Wait()
	})
}

func TestConversationUnderNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noise := noisy(7)
		var mu sync.Mutex
		c := converse(t, func(b []byte) []byte { mu.Lock(); defer mu.Unlock(); return noise(b) }, Hello{}, echo)
		if _, err := c.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		body := bytes.Repeat([]byte("0123456789"), 10<<10)
		b, err := c.Call(t.Context(), OpRead, nil, body, nil)
		if err != nil || !bytes.Equal(b, body) {
			t.Errorf("Call = %d bytes, %v", len(b), err)
		}
	})
}

func TestErrorsOfTheGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := make(chan Op, 1)
		c := converse(t, nil, Hello{}, func(op Op, _ json.RawMessage, _ []byte) (Answer, error) {
			switch op {
			case OpRead:
				return Answer{}, &fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}
			case OpMessages:
				return Answer{Body: make([]byte, MaxMessage)}, nil
			case OpList:
				return Answer{Result: strings.Repeat("x", MaxHeader)}, nil
			case OpReboot:
				return Answer{Then: func() { after <- op }}, nil
			}
			return Answer{}, errors.New("something else")
		})
		_, err := c.Call(t.Context(), OpRead, nil, nil, nil)
		var said *Error
		if !errors.As(err, &said) || said.Op != OpRead || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Call(read): %v, want the guest's ErrNotExist", err)
		}
		_, err = c.Call(t.Context(), OpHash, nil, nil, nil)
		if !errors.As(err, &said) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "something else") {
			t.Errorf("Call(hash): %v", err)
		}
		for _, op := range []Op{OpMessages, OpList} {
			if b, err := c.Call(t.Context(), op, nil, nil, nil); !errors.As(err, &said) {
				t.Errorf("Call(%s) of too much = %d bytes, %v", op, len(b), err)
			}
		}
		if _, err := c.Call(t.Context(), OpReboot, nil, nil, nil); err != nil || <-after != OpReboot {
			t.Errorf("Call(reboot): %v", err)
		}
		if _, err := c.Call(t.Context(), OpReboot, nil, nil, new(FileArgs)); err == nil {
			t.Error("a result that is not there is no error")
		}
		<-after
	})
}

func TestCallEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forever := make(chan struct{})
		defer close(forever)
		c := converse(t, nil, Hello{}, func(Op, json.RawMessage, []byte) (Answer, error) {
			<-forever
			return Answer{}, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Call(ctx, OpPing, nil, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call with a deadline: %v", err)
		}
		reason := errors.New("the kernel panicked")
		time.AfterFunc(time.Minute, func() { c.Close(reason) })
		if _, err := c.Call(t.Context(), OpPing, nil, nil, nil); !errors.Is(err, reason) {
			t.Errorf("Call at the end: %v, want its reason", err)
		}
		if _, err := c.Call(t.Context(), OpPing, nil, nil, nil); !errors.Is(err, reason) {
			t.Errorf("Call after the end: %v, want its reason", err)
		}
	})
}

func TestHelloOfAnother(t *testing.T) {
	for _, message := range []string{`{"id":0,"args":{"version":99}}`, `{"id":0,"args":{"unknown":1}}`, `{"id":0}`, "no object"} {
		c := NewClient(io.Discard, HostPace)
		c.Handle(bytes.TrimSpace(line(t, &Frame{Number: 1, Data: []byte(message + "\n")})))
		if h, err := c.Hello(t.Context()); err == nil {
			t.Errorf("Hello %s = %+v", message, h)
		}
		c.Close(nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := NewClient(io.Discard, HostPace)
	defer c.Close(nil)
	if _, err := c.Hello(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Hello of nobody: %v", err)
	}
}

// FuzzMessage gives messages to both sides' parser.
func FuzzMessage(f *testing.F) {
	seeds := []*Message{
		{},
		{ID: 1, Op: OpPing},
		{ID: 2, Op: OpRun, Args: json.RawMessage(`{"args":["/bin/true"],"timeout":1}`), Body: []byte("in\n")},
		{ID: 3, Err: newError(OpRead, syscall.ENOENT)},
		{Args: json.RawMessage(`{"version":1,"kernel":"6.1"}`)},
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, m := range seeds {
		b, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			if m != nil {
				t.Fatalf("ParseMessage(%q) = %+v, %v", b, m, err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil {
			return // larger than what was read, by JSON's escapes
		}
		n, err := ParseMessage(again)
		if err != nil {
			t.Fatalf("ParseMessage(Encode): %v", err)
		}
		// Numbers and strings may be written otherwise.
		third, err := n.Encode()
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("round trip %q, then %q, %v", again, third, err)
		}
	})
}
