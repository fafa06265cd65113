//go:build linux

// Package machine boots machines under QEMU's software emulation: real firmware, a real kernel, a real TPM protocol
// (swtpm), with nothing installed but QEMU and swtpm and no privileges.
//
//	m, err := machine.Start(ctx, machine.Spec{...}) // until the guest says hello
//	defer m.Stop()
//	out, err := m.Run(ctx, guest.Run{Args: []string{"/usr/bin/probity-agent", "show"}})
//
// The guest program (cmd/probity-guest) does inside what the methods of Machine ask, over the serial console. A guest
// reaches services on this machine's loopback at HostAddress; nobody reaches the guest.
//
// Every process that is started ends with Stop, with the context of Start, and with this process, even if that is
// killed; sockets and memory are inherited, so that no file is left either. What lasts is the caller's: UEFI variables,
// the TPM's state, the flash (Spec says which).
//
// Limits: five boards, and of these what tests of attestation need; no more than MaxMachines at once; the words that
// end a wait early are those of the firmware that was tried (OVMF and AAVMF 2022.11, U-Boot 2023.01, shim, GRUB 2.06).
package machine

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// HostAddress is where a guest finds services that listen on this machine's loopback.
const HostAddress = "10.0.2.2"

// slots hold one token for every machine that may run.
var slots = make(chan struct{}, MaxMachines)

// Machine is a machine: on after Start, off after PowerOff, gone after Stop. Its methods may be called concurrently, but
// for those that switch it on or off.
type Machine struct {
	spec    Spec
	program string // QEMU
	console *console
	release func() // gives the slot back
	cancel  func() // of the context of Start

	mu     sync.Mutex
	hello  *guest.Hello
	client *guest.Client
	qemu   *child
	swtpm  *child
	qmp    *qmp
	qtest  *qtest
	gone   bool // stopped: nothing may be started for it any more
}

// Start switches a machine on and waits for its guest's hello. It waits for a slot before. The machine runs until Stop or
// until ctx ends. Errors are *MissingError where QEMU or swtpm is not installed, and *GuestError where the machine does
// not come up.
func Start(ctx context.Context, s Spec) (*Machine, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	m := &Machine{spec: s, console: newConsole()}
	var err error
	if m.program, err = findQEMU(s); err != nil {
		return nil, err
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("start machine: %d are running already: %w", MaxMachines, context.Cause(ctx))
	}
	m.release = sync.OnceFunc(func() { <-slots })
	if err := m.PowerOn(ctx); err != nil {
		m.Stop()
		return nil, err
	}
	stop := context.AfterFunc(ctx, m.Stop)
	m.mu.Lock()
	m.cancel = func() { stop() }
	m.mu.Unlock()
	return m, nil
}

func findQEMU(s Spec) (string, error) {
	b := models[s.Board]
	name := b.program
	if s.QEMU != "" {
		name = filepath.Join(s.QEMU, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &MissingError{Program: b.program, Package: b.pkg, Err: err}
	}
	return path, nil
}

// PowerOn boots a machine that is off, as Start does.
func (m *Machine) PowerOn(ctx context.Context) error {
	m.mu.Lock()
	on := m.qemu != nil
	m.mu.Unlock()
	if on {
		return errors.New("power on: the machine is on")
	}
	limit := m.spec.BootTime
	if limit == 0 {
		limit = bootTime
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: no hello within %s", ErrHang, limit))
	defer cancel()
	if err := m.boot(ctx); err != nil {
		m.shut()
		var missing *MissingError
		if errors.As(err, &missing) {
			return err
		}
		return m.fail("boot", err)
	}
	return nil
}

// boot launches the processes and waits for the guest.
func (m *Machine) boot(ctx context.Context) error {
	if err := m.launch(ctx); err != nil {
		return err
	}
	client := m.guest()
	if client == nil {
		return ErrEnded
	}
	hello, err := client.Hello(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	m.mu.Lock()
	m.hello = hello
	m.mu.Unlock()
	m.console.note(fmt.Sprintf("the guest says hello: %s on %q, kernel %s", hello.Machine, hello.Board, hello.Kernel))
	for _, p := range hello.Problems {
		m.console.note("the guest says: " + p)
	}
	if m.spec.KeepClock {
		return nil
	}
	_, err = client.Call(ctx, guest.OpTime, guest.TimeArgs{Time: time.Now()}, nil, nil)
	return err
}

// fail makes an error of the machine of err. What the guest itself said stays as it is.
func (m *Machine) fail(op string, err error) error {
	var said *guest.Error
	var failed *GuestError
	if err == nil || errors.As(err, &said) || errors.As(err, &failed) {
		return err
	}
	if errors.Is(err, guest.ErrSilent) || errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", ErrHang, err)
	}
	return &GuestError{Board: m.spec.Board, Op: op, Err: err, Console: m.console.last()}
}

// guest returns the conversation with the guest, or nil.
func (m *Machine) guest() *guest.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client
}

// Hello is what the guest said when it came up.
func (m *Machine) Hello() guest.Hello {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hello == nil {
		return guest.Hello{}
	}
	h := *m.hello
	h.Problems = slices.Clone(h.Problems)
	return h
}

// Console returns what the machine has said on its console over all its boots, with the seconds since Start. It stays
// after Stop.
func (m *Machine) Console() string { return m.console.String() }

// QMP has QEMU execute a command of its control protocol and decodes what it returns into result (nil: nothing).
func (m *Machine) QMP(ctx context.Context, command string, args, result any) error {
	m.mu.Lock()
	q := m.qmp
	m.mu.Unlock()
	if q == nil {
		return fmt.Errorf("QMP %s: %w", command, ErrEnded)
	}
	return q.command(ctx, command, args, result)
}

// Reboot has the guest end in order and boots the machine again: the same TPM, variables and flash, a new boot.
func (m *Machine) Reboot(ctx context.Context) error {
	if err := m.finish(ctx, guest.OpReboot); err != nil {
		return err
	}
	return m.PowerOn(ctx)
}

// PowerOff has the guest end in order and switches the machine off.
func (m *Machine) PowerOff(ctx context.Context) error { return m.finish(ctx, guest.OpPowerOff) }

// PowerCut takes the power from the machine, which hears nothing of it: the TPM is not shut down in order.
func (m *Machine) PowerCut() {
	m.mu.Lock()
	q, t := m.qemu, m.swtpm
	m.mu.Unlock()
	if t != nil {
		t.kill()
	}
	if q != nil {
		q.kill()
	}
	m.shut()
}

// finish asks the guest to end and waits until it has. A kernel that cannot switch its board off says so and halts.
func (m *Machine) finish(ctx context.Context, op guest.Op) error {
	halted := m.console.halt()
	if _, err := m.call(ctx, op, 0, nil, nil, nil); err != nil && !errors.Is(err, ErrEnded) {
		return err
	}
	m.mu.Lock()
	q := m.qemu
	m.mu.Unlock()
	if q == nil {
		return nil
	}
	limit := time.NewTimer(endTime)
	defer limit.Stop()
	select {
	case <-q.ended:
	case <-halted:
		// QEMU follows by itself where the board can be switched off.
		q.await(lastWords)
	case <-limit.C:
		return m.fail(string(op), fmt.Errorf("%w: it is still on after %s", ErrHang, endTime))
	case <-ctx.Done():
		return m.fail(string(op), context.Cause(ctx))
	}
	m.shut()
	return nil
}

// Stop ends the machine and everything that was started for it. What the console said stays.
func (m *Machine) Stop() {
	m.mu.Lock()
	m.gone = true
	cancel := m.cancel
	m.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	m.shut()
	m.release()
}

// own gives the machine a process, which shut will end; the process of a machine that is gone is ended here.
func (m *Machine) own(as **child, c *child) error {
	m.mu.Lock()
	gone := m.gone
	if !gone {
		*as = c
	}
	m.mu.Unlock()
	if gone {
		c.stop()
		return fmt.Errorf("%w: it was stopped", ErrEnded)
	}
	return nil
}

// shut ends what launch began. It may be called again, and by several at once.
func (m *Machine) shut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.qemu != nil {
		m.qemu.stop()
	}
	if m.client != nil {
		m.client.Close(ErrEnded)
	}
	if m.qmp != nil {
		_ = m.qmp.close()
	}
	if m.qtest != nil {
		_ = m.qtest.close()
	}
	if m.swtpm != nil {
		m.swtpm.stop() // it ended when QEMU hung up, unless QEMU never came that far
	}
	m.qemu, m.client, m.qmp, m.qtest, m.swtpm = nil, nil, nil, nil, nil
}
