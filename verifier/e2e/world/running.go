package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/verifier"
)

// Settings returns the configuration of a verifier on loopback that keeps what it has in a folder and trusts a maker of
// TPMs.
func Settings(dir string, maker *tpmtest.CA) (verifier.Config, error) {
	c := verifier.DefaultConfig()
	c.StateDir, c.Enrollment.Roots = filepath.Join(dir, "verifier"), filepath.Join(dir, "tpm-roots")
	c.MQTT.Listen, c.API.Listen = "127.0.0.1:0", "127.0.0.1:0"
	if err := os.MkdirAll(c.Enrollment.Roots, 0o755); err != nil {
		return c, err
	}
	return c, errors.Join(maker.WriteRoot(c.Enrollment.Roots), maker.WriteIntermediate(c.Enrollment.Roots))
}

// Run starts a verifier and waits until it can hear devices; the configuration then says what it listens on. It prints to
// out. end ends it and returns how it ended, however often it is called.
func Run(ctx context.Context, c *verifier.Config, version string, log *slog.Logger, out io.Writer) (v *verifier.Verifier, end func() error, err error) {
	if v, err = verifier.New(ctx, *c, version, log); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx, out) }()
	end = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	select {
	case <-v.Ready():
		c.API.Listen, c.MQTT.Listen = v.APIAddr(), v.MQTTAddr()
		return v, end, nil
	case err := <-ended:
		cancel()
		return nil, nil, fmt.Errorf("verifier ended: %w", err)
	case <-time.After(Patience):
		return nil, nil, errors.Join(errors.New("the verifier does not become ready"), end())
	}
}

// EnrolLine finds what a verifier prints for devices: server, fingerprint and token are its groups.
var EnrolLine = regexp.MustCompile(`probity-agent run --verifier (\S+) --ca-fingerprint (\S+) --token (\S+)`)

// Buffer is a buffer that one goroutine writes and another reads.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *Buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// String returns what was written so far.
func (s *Buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
