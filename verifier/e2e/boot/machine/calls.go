//go:build linux

package machine

import (
	"context"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// call asks the guest. It waits for at most callTime beside what the call itself allows.
func (m *Machine) call(ctx context.Context, op guest.Op, more time.Duration, args any, body []byte, result any) ([]byte, error) {
	c := m.guest()
	if c == nil {
		return nil, m.fail(string(op), ErrEnded)
	}
	limit := callTime + more
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: no answer within %s", ErrHang, limit))
	defer cancel()
	b, err := c.Call(ctx, op, args, body, result)
	return b, m.fail(string(op), err)
}

// Run runs a program in the guest and waits for its end. An exit code other than 0 is no error. A program without a
// Timeout is waited for two minutes, and goes on if it takes longer.
func (m *Machine) Run(ctx context.Context, r guest.Run) (*guest.Output, error) {
	o := new(guest.Output)
	body, err := m.call(ctx, guest.OpRun, r.Timeout, r, r.Stdin, o)
	return finished(o, body, err)
}

// finished splits what a program wrote.
func finished(o *guest.Output, body []byte, err error) (*guest.Output, error) {
	if err != nil {
		return nil, err
	}
	if o.StdoutLen < 0 || o.StderrLen < 0 || o.StdoutLen+o.StderrLen != len(body) {
		return nil, fmt.Errorf("the guest gives %d bytes of output for %d and %d", len(body), o.StdoutLen, o.StderrLen)
	}
	o.Stdout, o.Stderr = body[:o.StdoutLen], body[o.StdoutLen:]
	return o, nil
}

// Process is a program that runs in the guest.
type Process struct {
	PID int
	m   *Machine
}

// StartProcess starts a program in the guest. Run.Timeout, if there is one, ends it.
func (m *Machine) StartProcess(ctx context.Context, r guest.Run) (*Process, error) {
	var a guest.ProcessArgs
	if _, err := m.call(ctx, guest.OpStart, 0, r, r.Stdin, &a); err != nil {
		return nil, err
	}
	return &Process{PID: a.PID, m: m}, nil
}

// Signal sends the program a signal.
func (p *Process) Signal(ctx context.Context, s syscall.Signal) error {
	_, err := p.m.call(ctx, guest.OpSignal, 0, guest.ProcessArgs{PID: p.PID, Signal: s}, nil, nil)
	return err
}

// Wait waits until the program has ended, for at most limit.
func (p *Process) Wait(ctx context.Context, limit time.Duration) (*guest.Output, error) {
	o := new(guest.Output)
	body, err := p.m.call(ctx, guest.OpWait, limit-callTime, guest.ProcessArgs{PID: p.PID}, nil, o)
	return finished(o, body, err)
}

// Output is what the program has written so far; its Exit is -1 while it runs.
func (p *Process) Output(ctx context.Context) (*guest.Output, error) {
	o := new(guest.Output)
	body, err := p.m.call(ctx, guest.OpOutput, 0, guest.ProcessArgs{PID: p.PID}, nil, o)
	return finished(o, body, err)
}

// Status is what the program uses now.
func (p *Process) Status(ctx context.Context) (guest.Status, error) {
	var s guest.Status
	_, err := p.m.call(ctx, guest.OpStatus, 0, guest.ProcessArgs{PID: p.PID}, nil, &s)
	return s, err
}

// Traffic is what has passed the guest's network interface (eth0) since the boot.
func (m *Machine) Traffic(ctx context.Context) (guest.Traffic, error) {
	var t guest.Traffic
	_, err := m.call(ctx, guest.OpTraffic, 0, guest.InterfaceArgs{Name: "eth0"}, nil, &t)
	return t, err
}

// ReadFile returns a file of the guest; of the kernel's too, whose sizes are unknown before. errors.Is with
// fs.ErrNotExist and the like holds for errors.
func (m *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return m.ReadPart(ctx, path, 0, 0)
}

// ReadPart returns at most limit bytes of a file from offset on; limit 0: to the end.
func (m *Machine) ReadPart(ctx context.Context, path string, offset, limit int64) ([]byte, error) {
	b, err := m.call(ctx, guest.OpRead, 0, guest.ReadArgs{Path: path, Offset: offset, Limit: limit}, nil, nil)
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}

// Hash returns the SHA-256 of a part of a file and the number of its bytes; limit 0: to the end.
func (m *Machine) Hash(ctx context.Context, path string, offset, limit int64) (guest.Digest, error) {
	var d guest.Digest
	_, err := m.call(ctx, guest.OpHash, 0, guest.ReadArgs{Path: path, Offset: offset, Limit: limit}, nil, &d)
	return d, err
}

// WriteFile writes a file in the guest, with the folders on its way. perm is for a new one.
func (m *Machine) WriteFile(ctx context.Context, path string, content []byte, perm fs.FileMode) error {
	_, err := m.call(ctx, guest.OpWrite, 0, guest.WriteArgs{Path: path, Mode: perm}, content, nil)
	return err
}

// AppendFile writes at the end of a file in the guest.
func (m *Machine) AppendFile(ctx context.Context, path string, content []byte) error {
	_, err := m.call(ctx, guest.OpWrite, 0, guest.WriteArgs{Path: path, Mode: 0o644, Append: true}, content, nil)
	return err
}

// WriteAt writes into a file of the guest that exists: a device, for example.
func (m *Machine) WriteAt(ctx context.Context, path string, offset int64, content []byte) error {
	_, err := m.call(ctx, guest.OpWrite, 0, guest.WriteArgs{Path: path, Offset: &offset}, content, nil)
	return err
}

// CopyFile replaces one file of the guest by a copy of another, running programs too.
func (m *Machine) CopyFile(ctx context.Context, from, to string) error {
	_, err := m.call(ctx, guest.OpCopy, 0, guest.CopyArgs{From: from, To: to}, nil, nil)
	return err
}

// Remove removes a file or a folder of the guest with all that is in it.
func (m *Machine) Remove(ctx context.Context, path string) error {
	_, err := m.call(ctx, guest.OpRemove, 0, guest.FileArgs{Path: path}, nil, nil)
	return err
}

// List returns what is in a folder of the guest.
func (m *Machine) List(ctx context.Context, path string) ([]guest.Entry, error) {
	var l []guest.Entry
	_, err := m.call(ctx, guest.OpList, 0, guest.FileArgs{Path: path}, nil, &l)
	return l, err
}

// Violate changes a file of the guest while it is open for reading, which IMA records as a violation where its policy
// measures the file.
func (m *Machine) Violate(ctx context.Context, path string) error {
	_, err := m.call(ctx, guest.OpViolate, 0, guest.FileArgs{Path: path}, nil, nil)
	return err
}

// Mount mounts a file system in the guest.
func (m *Machine) Mount(ctx context.Context, a guest.MountArgs) error {
	_, err := m.call(ctx, guest.OpMount, 0, a, nil, nil)
	return err
}

// Unmount takes a file system of the guest away: securityfs, for example.
func (m *Machine) Unmount(ctx context.Context, path string) error {
	_, err := m.call(ctx, guest.OpUnmount, 0, guest.FileArgs{Path: path}, nil, nil)
	return err
}

// LoadModule loads a kernel module of the guest.
func (m *Machine) LoadModule(ctx context.Context, path, params string) error {
	_, err := m.call(ctx, guest.OpModule, 0, guest.ModuleArgs{Path: path, Params: params}, nil, nil)
	return err
}

// GPIO reads an input as the guest sees it.
func (m *Machine) GPIO(ctx context.Context, chip string, line uint32) (guest.GPIO, error) {
	var g guest.GPIO
	_, err := m.call(ctx, guest.OpGPIO, 0, guest.GPIOArgs{Chip: chip, Line: line}, nil, &g)
	return g, err
}

// KernelLog returns the guest's kernel messages.
func (m *Machine) KernelLog(ctx context.Context) (string, error) {
	b, err := m.call(ctx, guest.OpMessages, 0, nil, nil, nil)
	return string(b), err
}

// SetTime sets the guest's clock.
func (m *Machine) SetTime(ctx context.Context, t time.Time) error {
	_, err := m.call(ctx, guest.OpTime, 0, guest.TimeArgs{Time: t}, nil, nil)
	return err
}

// Ping asks whether the guest answers.
func (m *Machine) Ping(ctx context.Context) error {
	_, err := m.call(ctx, guest.OpPing, 0, nil, nil, nil)
	return err
}
