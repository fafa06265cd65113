// Package tpmtest gives tests and demonstrations a real software TPM: it starts swtpm, makes endorsement keys and their
// certificates as a TPM maker would, and puts recorded boots into the PCRs.
//
// Every swtpm has its own folder and seed, so that each is another device. Nothing here is needed by a device; the
// agent does not import it. swtpm (Debian: swtpm) must be installed: its absence is an error, never a reason to skip.
//
// Launch, Manufacture, ReplayLog and the like return errors; Start is for tests.
package tpmtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Options say what kind of TPM to start. The zero Options are a fresh TPM with the banks sha1, sha256 and sha384.
type Options struct {
	// Dir keeps the TPM's state; zero: a new temporary folder, which Stop removes. Starting on the folder of an earlier
	// swtpm is that TPM again.
	Dir string
	// Banks are the active PCR banks; zero: sha1, sha256, sha384.
	Banks []pcr.Algorithm
}

// Swtpm is a running swtpm process.
type Swtpm struct {
	Socket string // server socket: give it to tpm.Open
	Dir    string // state folder

	control string // control socket
	run     string // folder of the sockets, whose paths must be short
	ownDir  bool
	process *os.Process
	exited  chan struct{}
	log     bytes.Buffer
	stop    sync.Once
}

// ErrMissing is returned where swtpm is not installed.
var ErrMissing = errors.New("swtpm is not installed: install it with make deps (Debian: apt-get install swtpm swtpm-tools)")

// startTime is how long swtpm may take to open its sockets.
const startTime = 20 * time.Second

// Launch starts a swtpm. It ends with Stop or with ctx.
func Launch(ctx context.Context, o Options) (*Swtpm, error) {
	path, err := exec.LookPath("swtpm")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	s := &Swtpm{Dir: o.Dir, exited: make(chan struct{})}
	if s.run, err = os.MkdirTemp("", "swtpm"); err != nil {
		return nil, fmt.Errorf("start swtpm: %w", err)
	}
	if s.Dir == "" {
		s.Dir, s.ownDir = filepath.Join(s.run, "state"), true
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("start swtpm: %w", err), os.RemoveAll(s.run))
	}
	s.Socket, s.control = filepath.Join(s.run, "tpm"), filepath.Join(s.run, "ctl")
	cmd := exec.Command(path, "socket", "--tpm2", "--tpmstate", "dir="+s.Dir,
		"--server", "type=unixio,path="+s.Socket, "--ctrl", "type=unixio,path="+s.control,
		"--flags", "not-need-init,startup-clear")
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start swtpm: %w", err), os.RemoveAll(s.run))
	}
	s.process = cmd.Process
	go func() {
		_ = cmd.Wait()
		close(s.exited)
	}()
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := s.allocate(o.Banks); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	context.AfterFunc(ctx, func() { _ = s.Stop() })
	return s, nil
}

// Stop ends the process and removes what Launch made.
func (s *Swtpm) Stop() error {
	var err error
	s.stop.Do(func() {
		_ = s.process.Kill()
		<-s.exited
		err = os.RemoveAll(s.run)
	})
	return err
}

// Done is closed when the process has ended.
func (s *Swtpm) Done() <-chan struct{} { return s.exited }

// Open connects to the TPM.
func (s *Swtpm) Open() (transport.TPMCloser, error) { return tpm.Open(s.Socket) }

// ready waits until both sockets answer.
func (s *Swtpm) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", s.control); err == nil {
			c.Close()
			if _, err := tpm.Open(s.Socket); err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-s.exited:
			return fmt.Errorf("start swtpm: it ended at once: %s", bytes.TrimSpace(s.log.Bytes()))
		case <-ctx.Done():
			return fmt.Errorf("start swtpm: no answer: %w", ctx.Err())
		}
	}
}

// Commands of swtpm's control channel (swtpm_ioctls(3)).
const (
	ctlInit        = 2
	ctlSetLocality = 5
	ctlHashStart   = 6
	ctlHashData    = 7
	ctlHashEnd     = 8
)

// ctl sends commands over one control connection: a big-endian number and payload each, a big-endian result back.
func (s *Swtpm) ctl(commands ...[]byte) error {
	c, err := net.Dial("unix", s.control)
	if err != nil {
		return fmt.Errorf("swtpm control channel: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(startTime)); err != nil {
		return fmt.Errorf("swtpm control channel: %w", err)
	}
	for _, cmd := range commands {
		if _, err := c.Write(cmd); err != nil {
			return fmt.Errorf("swtpm control channel: %w", err)
		}
		var rc [4]byte
		if _, err := io.ReadFull(c, rc[:]); err != nil {
			return fmt.Errorf("swtpm control channel: %w", err)
		}
		if code := binary.BigEndian.Uint32(rc[:]); code != 0 {
			return fmt.Errorf("swtpm control channel: command %d: result %#x", binary.BigEndian.Uint32(cmd), code)
		}
	}
	return nil
}

func ctlCommand(number uint32, payload ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, number), payload...)
}

// PowerCycle shuts the TPM down in order and starts it again: PCRs are reset, transient objects and sessions are gone.
func (s *Swtpm) PowerCycle() error {
	if err := s.command(tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear}); err != nil {
		return err
	}
	return s.Boot(Boot{})
}

// PowerLoss cuts the power without a TPM2_Shutdown and starts again: the clock is then marked as not safe.
func (s *Swtpm) PowerLoss() error { return s.Boot(Boot{}) }

// Boot says how a TPM is started (PC Client PTP 1.06, section 4.6.2).
type Boot struct {
	Locality byte   // of TPM2_Startup: 0 or 3
	HCRTM    []byte // what a hardware core root of trust measures before, into PCR 0 at locality 4; nil: there is none
}

// Boot cuts the power and starts the TPM again as b says.
func (s *Swtpm) Boot(b Boot) error {
	commands := [][]byte{ctlCommand(ctlInit, 0, 0, 0, 0)}
	if b.HCRTM != nil {
		data := binary.BigEndian.AppendUint32(nil, uint32(len(b.HCRTM)))
		commands = append(commands, ctlCommand(ctlHashStart),
			ctlCommand(ctlHashData, append(data, b.HCRTM...)...), ctlCommand(ctlHashEnd))
	}
	if err := s.ctl(append(commands, ctlCommand(ctlSetLocality, b.Locality))...); err != nil {
		return err
	}
	if err := s.command(tpm2.Startup{StartupType: tpm2.TPMSUClear}); err != nil {
		return err
	}
	return s.ctl(ctlCommand(ctlSetLocality, 0))
}

// command runs one of the commands without a response.
func (s *Swtpm) command(cmd any) error {
	t, err := s.Open()
	if err != nil {
		return err
	}
	defer t.Close()
	switch c := cmd.(type) {
	case tpm2.Startup:
		_, err = c.Execute(t)
	case tpm2.Shutdown:
		_, err = c.Execute(t)
	}
	if err != nil {
		return fmt.Errorf("%T: %w", cmd, err)
	}
	return nil
}

// allocate activates exactly these PCR banks (TPM2_PCR_Allocate; Part 3, section 22.5), which go-tpm does not know.
func (s *Swtpm) allocate(banks []pcr.Algorithm) error {
	if len(banks) == 0 {
		banks = []pcr.Algorithm{pcr.SHA1, pcr.SHA256, pcr.SHA384}
	}
	wanted := make(map[pcr.Algorithm]bool)
	for _, b := range banks {
		wanted[b] = true
	}
	all := []pcr.Algorithm{pcr.SHA1, pcr.SHA256, pcr.SHA384, pcr.SHA512}
	cmd := []byte{0x80, 2, 0, 0, 0, 0, 0, 0, 1, 0x2b}           // TPM_ST_SESSIONS, size, TPM_CC_PCR_Allocate
	cmd = append(cmd, 0x40, 0, 0, 0x0c)                         // TPM_RH_PLATFORM
	cmd = append(cmd, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0) // its empty password
	cmd = binary.BigEndian.AppendUint32(cmd, uint32(len(all)))
	for _, a := range all {
		var sel pcr.Selection
		if wanted[a] {
			sel = pcr.All
		}
		cmd = binary.BigEndian.AppendUint16(cmd, uint16(a))
		cmd = append(append(cmd, 3), sel.Bytes()...)
	}
	binary.BigEndian.PutUint32(cmd[2:], uint32(len(cmd)))
	t, err := s.Open()
	if err != nil {
		return err
	}
	rsp, err := t.Send(cmd)
	if err == nil && len(rsp) >= 15 && binary.BigEndian.Uint32(rsp[6:]) == 0 && rsp[14] == 1 {
		return s.PowerCycle()
	}
	return errors.Join(fmt.Errorf("allocate PCR banks %v: %w, response %x", banks, err, rsp), t.Close())
}
