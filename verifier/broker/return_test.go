package broker

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
)

// TestManyReturnAtOnce: a verifier was down, and all its devices connect in the same moment, many more than may be in
// the middle of a handshake (ATTACKS row 52). Those over the limit are refused at once, come back with jitter as the
// agent does, and all get in. Meanwhile a device that is connected is served as if nothing happened.
func TestManyReturnAtOnce(t *testing.T) {
	const devices, pending = 1000, 100
	b := embedded(t, Config{MaxPending: pending})
	v, calm := b.listener(), b.device("t", 0)
	certs := make([]*tls.Certificate, devices)
	for n := range certs {
		certs[n] = b.ca.client("t", id(n+1))
	}
	var wg sync.WaitGroup
	start := make(chan struct{})
	for n, cert := range certs {
		wg.Go(func() {
			<-start
			b.comeBack(n+1, cert)
		})
	}
	returned := make(chan struct{})
	go func() {
		wg.Wait()
		close(returned)
	}()
	close(start)
	var waits []time.Duration
	most := 0
	for n, back := 0, false; !back; n++ {
		select {
		case <-returned:
			back = true
		default:
		}
		text := fmt.Sprint("calm ", n)
		began := time.Now()
		if err := calm.publish(topic("t", 0, proto.UpState), 1, text); err != nil {
			t.Fatalf("publish of a device that is connected = %v", err)
		}
		v.await(text)
		waits = append(waits, time.Since(began))
		b.broker.mu.Lock()
		most = max(most, b.broker.pending)
		b.broker.mu.Unlock()
	}
	s := b.broker.Stats()
	if want := devices + 2; s.Sessions != want { // and the calm one, and the verifier
		t.Errorf("%d sessions, want %d", s.Sessions, want)
	}
	if s.Refused == 0 {
		t.Error("nobody was refused: the test is too gentle")
	}
	if most > pending/4 { // of one address
		t.Errorf("%d connections were pending at a time, want at most %d", most, pending/4)
	}
	slices.Sort(waits)
	if p90 := waits[len(waits)*9/10]; p90 > 2*time.Second {
		t.Errorf("a connected device waited %v, want under 2 s (median %v of %d)", p90, waits[len(waits)/2], len(waits))
	}
	t.Logf("%d refusals; a connected device waited %v at the median, %v at most, %d times", s.Refused, waits[len(waits)/2],
		waits[len(waits)-1], len(waits))
}

// comeBack connects a device, as often as it takes, with full jitter below a bound that doubles as the agent's does.
func (b *bed) comeBack(n int, cert *tls.Certificate) {
	bound := 100 * time.Millisecond
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); bound = min(2*bound, 5*time.Second) {
		if _, err := b.try(b.with(cert).SetClientID(id(n))); err == nil {
			return
		}
		time.Sleep(rand.N(bound))
	}
	b.Errorf("device %d did not get in", n)
}
