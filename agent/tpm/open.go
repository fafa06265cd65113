package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

// DefaultPath is the TPM behind the kernel's resource manager.
const DefaultPath = "/dev/tpmrm0"

// Open opens the TPM at path: a device such as DefaultPath (also the meaning of "") or the server socket of a swtpm.
// Errors wrap ErrNoDevice, ErrPermission, ErrBusy or ErrTPM12 where that is the cause, and say what to do.
func Open(path string) (transport.TPMCloser, error) {
	if path == "" {
		path = DefaultPath
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, openError(path, err, "/sys/class/tpm")
	}
	if info.Mode()&fs.ModeSocket == 0 {
		t, err := linuxtpm.Open(path)
		if err != nil {
			return nil, openError(path, err, "/sys/class/tpm")
		}
		return t, nil
	}
	s := &socket{path: path, timeout: probeTime}
	if _, err := s.Send(probe); err != nil {
		return nil, err
	}
	s.timeout = commandTime
	return s, nil
}

// probe is TPM2_GetCapability of TPM_PT_FAMILY_INDICATOR (Part 3, section 30.2).
var probe = []byte{0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 1}

// openError says what a failure to open the device means. class is where the kernel lists TPMs.
func openError(path string, err error, class string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if oldTPM(class) {
			return fmt.Errorf("%w: %s: want a TPM 2.0; some firmware can switch it, see its setup", ErrTPM12, class)
		}
		return fmt.Errorf("%w at %s: switch it on in the firmware's setup (\"TPM\", \"PTT\", \"fTPM\") and load its driver "+
			"(tpm_tis, tpm_crb), or name another device or a swtpm socket: %w", ErrNoDevice, path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w at %s: run as a member of the group that owns it (often tss), not necessarily as root: %w",
			ErrPermission, path, err)
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("%w: %s: use the resource manager's device %s, which several programs share: %w",
			ErrBusy, path, DefaultPath, err)
	case errors.Is(err, linuxtpm.ErrFileIsNotDevice):
		return fmt.Errorf("%w at %s: it is neither a device nor a socket: %w", ErrNoDevice, path, err)
	}
	return fmt.Errorf("open TPM at %s: %w", path, err)
}

// oldTPM reports whether the kernel knows a TPM 1.2 and no other.
func oldTPM(class string) bool {
	files, err := filepath.Glob(filepath.Join(class, "tpm*", "tpm_version_major"))
	if err != nil || len(files) == 0 {
		return false
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || strings.TrimSpace(string(b)) != "1" {
			return false
		}
	}
	return true
}

// socket talks to a swtpm server socket. swtpm serves one connection at a time, so there is one for each command: that
// costs some 50 us and lets several programs take turns.
type socket struct {
	path    string
	timeout time.Duration // for a whole command
}

func (s *socket) Send(command []byte) ([]byte, error) {
	deadline := time.Now().Add(s.timeout)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", s.path)
	if err != nil {
		return nil, s.explain(err)
	}
	defer c.Close()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, s.explain(err)
	}
	if _, err := c.Write(command); err != nil {
		return nil, s.explain(err)
	}
	out := make([]byte, maxResponse)
	n := 0
	for want := headerSize; n < want; {
		k, err := c.Read(out[n:])
		if n += k; n >= headerSize {
			want = int(binary.BigEndian.Uint32(out[2:]))
		}
		if want < headerSize || want > maxResponse {
			return nil, fmt.Errorf("TPM socket %s: response of %d bytes, want %d to %d", s.path, want, headerSize, maxResponse)
		}
		if err != nil && n < want {
			return nil, s.explain(err)
		}
	}
	return out[:n], nil
}

// Close has nothing to do: no connection outlives its command.
func (s *socket) Close() error { return nil }

func (s *socket) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer from the socket %s in %s: swtpm serves one connection at a time, "+
			"end the other program: %w", ErrBusy, s.path, s.timeout, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w at %s: %w", ErrPermission, s.path, err)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w at %s: nothing listens on this socket, start swtpm: %w", ErrNoDevice, s.path, err)
	}
	return fmt.Errorf("TPM socket %s: %w", s.path, err)
}
