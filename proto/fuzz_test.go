package proto

import (
	"bytes"
	"reflect"
	"testing"
)

// fuzz checks what holds for any input: no panic, and what is accepted encodes to the same bytes and obeys the limits.
func fuzz[M any](f *testing.F) {
	seeds := 0
	for _, g := range golden {
		b := annotated(f, g.bytes)
		f.Add(b) // other messages too: a topic carries what the sender likes
		if _, ok := any(g.m).(*M); ok {
			seeds++
			f.Add(append(bytes.Clone(b), 0))
			f.Add(b[:len(b)-1])
		}
	}
	if seeds == 0 {
		f.Fatalf("no golden message of type %s", reflect.TypeFor[M]())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := any(new(M)).(Message)
		if !ok {
			t.Fatalf("%s is no message", reflect.TypeFor[M]())
		}
		if Decode(b, m) != nil {
			return
		}
		if len(b) > MaxMessage {
			t.Errorf("accepted %d bytes", len(b))
		}
		again, err := Encode(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("accepted %x, encodes to %x, %v", b, again, err)
		}
	})
}

func FuzzState(f *testing.F)            { fuzz[State](f) }
func FuzzChallenge(f *testing.F)        { fuzz[Challenge](f) }
func FuzzEvidence(f *testing.F)         { fuzz[Evidence](f) }
func FuzzClaims(f *testing.F)           { fuzz[Claims](f) }
func FuzzFlash(f *testing.F)            { fuzz[Flash](f) }
func FuzzWant(f *testing.F)             { fuzz[Want](f) }
func FuzzChunk(f *testing.F)            { fuzz[Chunk](f) }
func FuzzReceipt(f *testing.F)          { fuzz[Receipt](f) }
func FuzzPlatform(f *testing.F)         { fuzz[Platform](f) }
func FuzzHello(f *testing.F)            { fuzz[Hello](f) }
func FuzzCaptureRequest(f *testing.F)   { fuzz[CaptureRequest](f) }
func FuzzCaptureUp(f *testing.F)        { fuzz[CaptureUp](f) }
func FuzzCaptureStatement(f *testing.F) { fuzz[CaptureStatement](f) }
func FuzzEnrollUp(f *testing.F)         { fuzz[EnrollUp](f) }
func FuzzEnrollDown(f *testing.F)       { fuzz[EnrollDown](f) }
