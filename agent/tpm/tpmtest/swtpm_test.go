package tpmtest_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
)

func TestEveryTPMIsAnother(t *testing.T) {
	ids := make(map[string]bool)
	for range 5 {
		ids[tpmtest.Start(t, tpmtest.Options{}).TPM(t).DeviceID()] = true
	}
	if len(ids) != 5 {
		t.Errorf("5 TPMs have %d ids", len(ids))
	}
}

func TestKeptState(t *testing.T) {
	o := tpmtest.Options{Dir: t.TempDir(), Banks: []pcr.Algorithm{pcr.SHA384}}
	s := tpmtest.Start(t, o)
	id := s.TPM(t).DeviceID()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	again := tpmtest.Start(t, o).TPM(t)
	if again.DeviceID() != id {
		t.Error("the same folder is another TPM")
	}
	if banks, err := again.Banks(); err != nil || len(banks) != 1 || banks[0] != pcr.SHA384 {
		t.Errorf("Banks = %v, %v, want sha384 only", banks, err)
	}
}

func TestContextEndsProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := tpmtest.Launch(ctx, tpmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-s.Done()
	if _, err := s.Open(); !errors.Is(err, tpm.ErrNoDevice) {
		t.Errorf("Open after the end: %v, want ErrNoDevice", err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state is left: %v", err)
	}
}

func TestCannotStart(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := tpmtest.Launch(context.Background(), tpmtest.Options{Dir: file}); err == nil {
		t.Errorf("Launch on a file = %v", s)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := tpmtest.Launch(context.Background(), tpmtest.Options{}); !errors.Is(err, tpmtest.ErrMissing) {
		t.Errorf("Launch without swtpm: %v, want ErrMissing", err)
	}
}
