package tpmtest

import (
	"context"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/probity-attest/probity/agent/tpm"
)

// TB is what Start needs of a *testing.T or *testing.B, so that this package does not link package testing into others.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Start launches a swtpm that lives as long as the test.
func Start(tb TB, o Options) *Swtpm {
	tb.Helper()
	s, err := Launch(context.Background(), o)
	if err != nil {
		tb.Fatalf("tpmtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Errorf("tpmtest: %v", err)
		}
	})
	return s
}

// Transport connects to the TPM for as long as the test lives.
func (s *Swtpm) Transport(tb TB) transport.TPMCloser {
	tb.Helper()
	t, err := s.Open()
	if err != nil {
		tb.Fatalf("tpmtest: %v", err)
	}
	tb.Cleanup(func() { _ = t.Close() })
	return t
}

// TPM returns the TPM with a device's keys for as long as the test lives.
func (s *Swtpm) TPM(tb TB) *tpm.TPM {
	tb.Helper()
	t, err := tpm.New(s.Transport(tb))
	if err != nil {
		tb.Fatalf("tpmtest: %v", err)
	}
	tb.Cleanup(func() { _ = t.Close() })
	return t
}
