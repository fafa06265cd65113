package tpm

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
)

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "dead")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for path, hint := range map[string]string{
		filepath.Join(dir, "none"): "firmware's setup",
		file:                       "neither a device nor a socket",
		dead:                       "start swtpm",
	} {
		if _, err := Open(path); !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), hint) {
			t.Errorf("Open(%s): %v, want ErrNoDevice with %q", path, err, hint)
		}
	}
	for err, want := range map[error]error{
		fs.ErrPermission: ErrPermission, syscall.EACCES: ErrPermission, syscall.EBUSY: ErrBusy, syscall.ENOENT: ErrNoDevice,
	} {
		if got := openError("/dev/tpm0", err, dir); !errors.Is(got, want) || !errors.Is(got, err) {
			t.Errorf("openError(%v) = %v, want %v", err, got, want)
		}
	}
	if got := openError("x", syscall.EIO, dir); !errors.Is(got, syscall.EIO) {
		t.Errorf("openError(EIO) = %v", got)
	}
}

func TestOldTPM(t *testing.T) {
	class := t.TempDir()
	version := filepath.Join(class, "tpm0", "tpm_version_major")
	if err := os.Mkdir(filepath.Dir(version), 0o755); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]error{"1\n": ErrTPM12, "2\n": ErrNoDevice} {
		if err := os.WriteFile(version, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := openError("/dev/tpmrm0", fs.ErrNotExist, class); !errors.Is(got, want) {
			t.Errorf("with a TPM of version %q: %v, want %v", content, got, want)
		}
	}
}

// TestBusySocket connects to a socket whose only place is taken, as swtpm's is while another program is connected.
func TestBusySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &socket{path: path, timeout: 20 * time.Millisecond}
	if _, err := s.Send(probe); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "one connection at a time") {
		t.Errorf("Send: %v, want ErrBusy and why", err)
	}
}

// TestSocketAnswers gives a socket's client responses in pieces and wrong ones.
func TestSocketAnswers(t *testing.T) {
	good := []byte{0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 1, 2}
	for _, tc := range []struct {
		name   string
		pieces [][]byte
		ok     bool
	}{
		{"in pieces", [][]byte{good[:1], good[1:7], good[7:]}, true},
		{"cut short", [][]byte{good[:11]}, false},
		{"size too small", [][]byte{{0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0}}, false},
		{"size too large", [][]byte{{0x80, 1, 0, 1, 0, 0, 0, 0, 0, 0}}, false},
		{"nothing", nil, false},
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Read(make([]byte, len(probe)))
			for _, p := range tc.pieces {
				_, _ = c.Write(p)
			}
		}()
		got, err := (&socket{path: path, timeout: 5 * time.Second}).Send(probe)
		if (err == nil) != tc.ok || tc.ok && !bytes.Equal(got, good) {
			t.Errorf("%s: %x, %v", tc.name, got, err)
		}
		l.Close()
	}
}

type answer []byte

func (a answer) Send([]byte) ([]byte, error) { return a, nil }

// TestRetryEnds: a TPM that is busy for ever, and one that is closed meanwhile.
func TestRetryEnds(t *testing.T) {
	busy := answer{0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x22}
	s := &sender{dev: busy, budget: 20 * time.Millisecond, done: make(chan struct{})}
	rsp, err := s.Send(probe)
	if err != nil || !bytes.Equal(rsp, busy) {
		t.Errorf("Send over the budget = %x, %v, want the TPM's own answer", rsp, err)
	}
	done := make(chan struct{})
	close(done)
	s = &sender{dev: busy, budget: time.Hour, done: done}
	if _, err := s.Send(probe); !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Close: %v, want ErrClosed", err)
	}
	if _, err := New(busyTPM(busy)); err == nil || !errors.Is(err, tpm2.TPMRCFailure) {
		t.Errorf("New on a failed TPM: %v, want TPM_RC_FAILURE", err)
	}
}

func busyTPM(a answer) answer { // TPM_RC_FAILURE, which is not worth a repetition
	f := bytes.Clone(a)
	f[8], f[9] = 1, 1
	return f
}
