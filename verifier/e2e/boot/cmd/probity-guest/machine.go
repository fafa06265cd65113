//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// machine does what the host asks.
type machine struct {
	mu        sync.Mutex
	processes map[int]*process
	end       func(command int) // ends the machine: reboot(2)
}

func newMachine() *machine {
	return &machine{processes: make(map[int]*process)}
}

// handle is the guest.Handler.
func (m *machine) handle(op guest.Op, args json.RawMessage, body []byte) (guest.Answer, error) {
	do, ok := operations[op]
	if !ok {
		return guest.Answer{}, fmt.Errorf("%w: no such operation", unix.ENOSYS)
	}
	return do(m, args, body)
}

type operation func(m *machine, args json.RawMessage, body []byte) (guest.Answer, error)

// operations are all that a guest can do; package guest says what each takes and gives.
var operations = map[guest.Op]operation{
	guest.OpPing: value(func(struct{}) (any, error) { return nil, nil }),
	guest.OpRun: op(func(m *machine, a guest.Run, body []byte) (guest.Answer, error) {
		p, err := m.start(a, body)
		if err != nil {
			return guest.Answer{}, err
		}
		return p.wait()
	}),
	guest.OpStart: op(func(m *machine, a guest.Run, body []byte) (guest.Answer, error) {
		p, err := m.start(a, body)
		if err != nil {
			return guest.Answer{}, err
		}
		return guest.Answer{Result: guest.ProcessArgs{PID: p.cmd.Process.Pid}}, nil
	}),
	guest.OpSignal: withProcess(func(p *process, a guest.ProcessArgs) (guest.Answer, error) {
		return guest.Answer{}, p.cmd.Process.Signal(a.Signal)
	}),
	guest.OpWait:   withProcess(func(p *process, _ guest.ProcessArgs) (guest.Answer, error) { return p.wait() }),
	guest.OpOutput: withProcess(func(p *process, _ guest.ProcessArgs) (guest.Answer, error) { return p.answer(), nil }),
	guest.OpStatus: withProcess(func(p *process, _ guest.ProcessArgs) (guest.Answer, error) {
		s, err := p.status()
		return guest.Answer{Result: s}, err
	}),
	guest.OpTraffic: value(func(a guest.InterfaceArgs) (guest.Traffic, error) {
		text, err := os.ReadFile("/proc/net/dev")
		if err != nil {
			return guest.Traffic{}, err
		}
		return traffic(string(text), a.Name)
	}),
	guest.OpRead: op(func(_ *machine, a guest.ReadArgs, _ []byte) (guest.Answer, error) {
		b, err := read(a)
		return guest.Answer{Body: b}, err
	}),
	guest.OpHash: value(hash),
	guest.OpList: value(func(a guest.FileArgs) ([]guest.Entry, error) { return list(a.Path) }),
	guest.OpWrite: op(func(_ *machine, a guest.WriteArgs, body []byte) (guest.Answer, error) {
		return guest.Answer{}, write(a, body)
	}),
	guest.OpCopy:    plain(replace),
	guest.OpRemove:  plain(func(a guest.FileArgs) error { return os.RemoveAll(a.Path) }),
	guest.OpViolate: plain(func(a guest.FileArgs) error { return violate(a.Path) }),
	guest.OpMount:   plain(func(a guest.MountArgs) error { return unix.Mount(a.Source, a.Target, a.Type, 0, a.Data) }),
	guest.OpUnmount: plain(func(a guest.FileArgs) error { return unix.Unmount(a.Path, 0) }),
	guest.OpModule:  plain(func(a guest.ModuleArgs) error { return loadModule(a.Path, a.Params) }),
	guest.OpGPIO:    value(readGPIO),
	guest.OpMessages: op(func(*machine, struct{}, []byte) (guest.Answer, error) {
		b, err := messages()
		return guest.Answer{Body: b}, err
	}),
	guest.OpTime: plain(func(a guest.TimeArgs) error {
		t, err := unix.TimeToTimespec(a.Time)
		if err != nil {
			return err
		}
		return unix.ClockSettime(unix.CLOCK_REALTIME, &t)
	}),
	guest.OpReboot:   ending(unix.LINUX_REBOOT_CMD_RESTART),
	guest.OpPowerOff: ending(unix.LINUX_REBOOT_CMD_POWER_OFF),
}

// op decodes the arguments. A request without any has those of the zero value.
func op[T any](do func(m *machine, a T, body []byte) (guest.Answer, error)) operation {
	return func(m *machine, args json.RawMessage, body []byte) (guest.Answer, error) {
		var a T
		if args != nil {
			var err error
			if a, err = guest.Decode[T](args); err != nil {
				return guest.Answer{}, err
			}
		}
		return do(m, a, body)
	}
}

// value is op with a result alone.
func value[T, R any](do func(a T) (R, error)) operation {
	return op(func(_ *machine, a T, _ []byte) (guest.Answer, error) {
		r, err := do(a)
		return guest.Answer{Result: r}, err
	})
}

// plain is op with neither body nor result.
func plain[T any](do func(a T) error) operation {
	return op(func(_ *machine, a T, _ []byte) (guest.Answer, error) { return guest.Answer{}, do(a) })
}

// withProcess is op for one of the processes that were started here.
func withProcess(do func(p *process, a guest.ProcessArgs) (guest.Answer, error)) operation {
	return op(func(m *machine, a guest.ProcessArgs, _ []byte) (guest.Answer, error) {
		m.mu.Lock()
		p := m.processes[a.PID]
		m.mu.Unlock()
		if p == nil {
			return guest.Answer{}, fmt.Errorf("process %d: %w: it was not started here", a.PID, unix.ESRCH)
		}
		return do(p, a)
	})
}

// lastWords is how long the answer may take to reach the host before the machine ends.
const lastWords = 5 * time.Second

// ending has the machine end after the answer.
func ending(command int) operation {
	return func(m *machine, _ json.RawMessage, _ []byte) (guest.Answer, error) {
		unix.Sync()
		return guest.Answer{Then: func() { m.end(command) }}, nil
	}
}

// messages returns the kernel's messages.
func messages() ([]byte, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, fmt.Errorf("kernel messages: %w", err)
	}
	b := make([]byte, size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, b)
	if err != nil {
		return nil, fmt.Errorf("kernel messages: %w", err)
	}
	return b[:n], nil
}
