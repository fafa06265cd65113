//go:build linux

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// launch starts swtpm and QEMU and connects to what they offer. What it began is ended by shut.
func (m *Machine) launch(ctx context.Context) error {
	var l files
	defer l.close()
	in, err := m.prepare(&l)
	if err != nil {
		return err
	}
	stdin, toGuest, err := os.Pipe()
	if err != nil {
		return err
	}
	l.add(stdin)
	fromGuest, stdout, err := os.Pipe()
	if err != nil {
		return errors.Join(err, toGuest.Close())
	}
	l.add(stdout)
	cmd := exec.Command(m.program, m.spec.arguments(in)...)
	cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = stdin, stdout, l.extra
	client := guest.NewClient(toGuest, guest.HostPace)
	m.console.note(strings.Join(cmd.Args, " "))
	m.console.attach(client.Handle, func(reason error) {
		// The lines that follow a panic are worth a moment.
		time.AfterFunc(lastWords, func() { client.Close(reason) })
	})
	qemu, err := startChild(cmd)
	if err != nil {
		client.Close(err)
		return errors.Join(err, toGuest.Close(), fromGuest.Close())
	}
	go m.listen(fromGuest, toGuest, client, qemu)
	if err := m.own(&m.qemu, qemu); err != nil {
		return err
	}
	m.mu.Lock()
	m.client = client
	m.mu.Unlock()
	l.given() // so that we hear of its end
	return m.control(ctx, l.qmp, l.qtest)
}

// listen reads the console until QEMU has ended, and says so to those who wait for the guest.
func (m *Machine) listen(from, to *os.File, client *guest.Client, qemu *child) {
	_, _ = io.Copy(m.console, from)
	<-qemu.ended
	client.Close(m.postMortem(qemu))
	_ = errors.Join(from.Close(), to.Close())
}

// postMortem says how QEMU ended, with what it and the TPM wrote to their standard error.
func (m *Machine) postMortem(qemu *child) error {
	m.mu.Lock()
	tpm := m.swtpm
	m.mu.Unlock()
	text := clean([]byte(strings.TrimSpace(qemu.stderr.String())))
	if tpm != nil {
		text += " " + clean([]byte(strings.TrimSpace(tpm.stderr.String())))
	}
	return fmt.Errorf("%w: QEMU ended (%v): %s", ErrEnded, qemu.cmd.ProcessState, strings.TrimSpace(text))
}

// control connects to QEMU itself.
func (m *Machine) control(ctx context.Context, control, test *os.File) error {
	conn, err := net.FileConn(control)
	if err != nil {
		return err
	}
	q, err := newQMP(ctx, conn)
	if err != nil {
		m.mu.Lock()
		qemu := m.qemu
		m.mu.Unlock()
		if qemu != nil && qemu.await(stopTime) {
			err = m.postMortem(qemu)
		}
		return errors.Join(err, conn.Close())
	}
	m.mu.Lock()
	m.qmp = q
	m.mu.Unlock()
	if test == nil {
		return nil
	}
	if conn, err = net.FileConn(test); err != nil {
		return err
	}
	m.mu.Lock()
	m.qtest = newQTest(conn)
	m.mu.Unlock()
	return nil
}

// files are what launch opens.
type files struct {
	theirs     []*os.File // copies of what processes inherit
	extra      []*os.File // QEMU's among them, from file descriptor 3 on
	qmp, qtest *os.File   // our ends
}

func (l *files) add(f *os.File) *os.File {
	l.theirs = append(l.theirs, f)
	return f
}

// inherit gives QEMU a file and returns the number of its descriptor there.
func (l *files) inherit(f *os.File) int {
	l.extra = append(l.extra, l.add(f))
	return 2 + len(l.extra)
}

// pair makes a connection: our end, and the number of QEMU's.
func (l *files) pair(name string) (*os.File, int, error) {
	fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(fd[0]), name), l.inherit(os.NewFile(uintptr(fd[1]), name)), nil
}

// given closes our copies of what the processes have now.
func (l *files) given() {
	for _, f := range l.theirs {
		_ = f.Close()
	}
	l.theirs = nil
}

func (l *files) close() {
	l.given()
	for _, f := range []*os.File{l.qmp, l.qtest} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// prepare makes what QEMU inherits, and starts the TPM.
func (m *Machine) prepare(l *files) (in inherited, err error) {
	if l.qmp, in.qmp, err = l.pair("QMP"); err != nil {
		return in, err
	}
	if m.spec.Board == SABRELite {
		if l.qtest, in.qtest, err = l.pair("qtest"); err != nil {
			return in, err
		}
	}
	if models[m.spec.Board].pflash {
		if in.vars, err = m.variables(l); err != nil {
			return in, err
		}
	}
	if m.spec.Flash != "" {
		if err := pad(m.spec.Flash, m.spec.Board.FlashSize()); err != nil {
			return in, err
		}
	}
	if m.spec.TPM == NoTPM {
		return in, nil
	}
	end, fd, err := l.pair("TPM")
	if err != nil {
		return in, err
	}
	in.tpm = fd
	t, err := startTPM(m.spec.TPMState, l.add(end))
	if err != nil {
		return in, err
	}
	return in, m.own(&m.swtpm, t)
}

// variables returns the file of the UEFI variables: the caller's, or one in memory that only QEMU knows.
func (m *Machine) variables(l *files) (string, error) {
	template, err := os.Open(m.spec.VarsTemplate)
	if err != nil {
		return "", err
	}
	defer template.Close()
	if m.spec.Vars == "" {
		fd, err := unix.MemfdCreate("variables", unix.MFD_CLOEXEC)
		if err != nil {
			return "", fmt.Errorf("memory for UEFI variables: %w", err)
		}
		f := os.NewFile(uintptr(fd), "variables")
		return fmt.Sprintf("/dev/fd/%d", l.inherit(f)), copySparse(f, template)
	}
	f, err := os.OpenFile(m.spec.Vars, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return m.spec.Vars, nil
	}
	if err != nil {
		return "", err
	}
	if err := errors.Join(copySparse(f, template), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(m.spec.Vars))
	}
	return m.spec.Vars, nil
}

// copySparse copies a file without its zeros: arm64's variables are 64 MiB of them.
func copySparse(to, from *os.File) error {
	block := make([]byte, 64<<10)
	zero := make([]byte, len(block))
	for at := int64(0); ; {
		n, err := io.ReadFull(from, block)
		if n > 0 && !bytes.Equal(block[:n], zero[:n]) {
			if _, err := to.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return to.Truncate(at)
		case err != nil:
			return err
		}
	}
}

// pad makes a file as large as the flash chip that it is, with what erased flash reads as.
func pad(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > size {
		return fmt.Errorf("flash %s: %w: it has %d bytes, the chip %d", path, syscall.EFBIG, info.Size(), size)
	}
	erased := bytes.Repeat([]byte{0xff}, 1<<20)
	for at := info.Size(); at < size; {
		n, err := f.WriteAt(erased[:min(size-at, int64(len(erased)))], at)
		if err != nil {
			return fmt.Errorf("flash %s: %w", path, err)
		}
		at += int64(n)
	}
	return f.Close()
}
