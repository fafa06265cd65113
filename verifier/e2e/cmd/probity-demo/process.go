package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that runs beside the demo and ends with it.
type process struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	once sync.Once
}

// start runs a program with its messages in a file. stdout, if not nil, gets its output.
func start(program string, args []string, logFile string, stdout io.Writer) (*process, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if stdout != nil {
		cmd.Stdout = stdout
	}
	// The demo itself may be killed: its programs must not outlive it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", program, err), log.Close())
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // its end is what counts; why is in its log
		close(p.done)
	}()
	return p, nil
}

// stop ends the program and waits for it.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		_ = p.log.Close()
	})
}

// programs finds the built programs beside this one.
type programs struct{ verifier, agent, cli string }

func findPrograms() (programs, error) {
	self, err := os.Executable()
	if err != nil {
		return programs{}, err
	}
	dir := filepath.Dir(self)
	p := programs{
		verifier: filepath.Join(dir, "probity-verifier"),
		agent:    filepath.Join(dir, "probity-agent"),
		cli:      filepath.Join(dir, "probity"),
	}
	for _, name := range []string{p.verifier, p.agent, p.cli} {
		if _, err := os.Stat(name); err != nil {
			return programs{}, fmt.Errorf("%w: build it with make build", err)
		}
	}
	return p, nil
}

// output runs a program to its end and decodes the JSON that it prints. Exit codes 3 and 5 of the command line tell of a
// device's state and are no failure here.
func output(ctx context.Context, into any, program string, args ...string) error {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == 3 || exit.ExitCode() == 5) && stdout.Len() > 0 {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(stdout.Bytes(), into); err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	return nil
}

// firstLine collects output until a line has a prefix, and sends that line.
type firstLine struct {
	prefix string
	buf    bytes.Buffer
	found  chan string
	sent   bool
}

func (f *firstLine) Write(b []byte) (int, error) {
	f.buf.Write(b)
	for !f.sent {
		line, err := f.buf.ReadString('\n')
		if err != nil {
			f.buf.WriteString(line)
			break
		}
		if line = strings.TrimSpace(line); strings.HasPrefix(line, f.prefix) {
			f.sent = true
			f.found <- line
		}
	}
	return len(b), nil
}
