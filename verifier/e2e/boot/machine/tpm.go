//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Manufacture makes a TPM in the empty or new folder dir (Spec.TPMState): with these PCR banks (none: SHA-256), and an
// endorsement key of this kind that ca certifies (ca nil: without certificate). Another machine's folder in its place is
// another machine's TPM.
func Manufacture(ctx context.Context, dir string, ca *tpmtest.CA, kind tpmtest.Kind, banks ...pcr.Algorithm) error {
	if len(banks) == 0 {
		banks = []pcr.Algorithm{pcr.SHA256}
	}
	s, err := tpmtest.Launch(ctx, tpmtest.Options{Dir: dir, Banks: banks})
	if errors.Is(err, tpmtest.ErrMissing) {
		return &MissingError{Program: "swtpm", Package: "swtpm", Err: err}
	}
	if err != nil {
		return fmt.Errorf("manufacture TPM: %w", err)
	}
	if err := errors.Join(manufacture(s, ca, kind), s.Stop()); err != nil {
		return fmt.Errorf("manufacture TPM: %w", err)
	}
	return nil
}

func manufacture(s *tpmtest.Swtpm, ca *tpmtest.CA, kind tpmtest.Kind) error {
	t, err := s.Open()
	if err != nil {
		return err
	}
	defer t.Close()
	if ca != nil {
		if err := tpmtest.Manufacture(t, ca, kind); err != nil {
			return err
		}
	}
	// An orderly end, without which the TPM would say at its first boot that its clock is not safe.
	_, err = tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear}.Execute(t)
	return err
}

// startTPM starts the machine's TPM on one end of a connection, whose other end is QEMU's. It ends when QEMU hangs up.
func startTPM(dir string, connection *os.File) (*child, error) {
	path, err := exec.LookPath("swtpm")
	if err != nil {
		return nil, &MissingError{Program: "swtpm", Package: "swtpm", Err: err}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// File descriptor 3 is the first of ExtraFiles.
	cmd := exec.Command(path, "socket", "--tpm2", "--tpmstate", "dir="+dir, "--ctrl", "type=unixio,clientfd=3", "--terminate")
	cmd.ExtraFiles = []*os.File{connection}
	return startChild(cmd)
}
