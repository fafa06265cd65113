package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/spf13/pflag"

	"github.com/probity-attest/probity/proto"
)

const patience = 60 * time.Second

// service is the program as systemd runs it: Type=notify, with a watchdog.
type service struct {
	cmd    *exec.Cmd
	socket *net.UnixConn
	lines  *bufio.Reader // what it prints for people
	log    *os.File
	ended  chan error
}

// newService starts the program with a notification socket; watchdog 0: none is wanted.
func newService(t *testing.T, state, listen string, watchdog time.Duration) *service {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "notify")
	s := &service{ended: make(chan error, 1)}
	var err error
	if s.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.socket.Close() })
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.log.Close() })
	program, err := exec.LookPath("probity-verifier") // this test as the program, see TestMain
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(program, "--state-dir", state, "--mqtt-listen", listen, "--api-listen", "127.0.0.1:0")
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+name)
	if watchdog > 0 {
		s.cmd.Env = append(s.cmd.Env, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	}
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.lines = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.cmd.Wait() }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		if t.Failed() {
			b, _ := os.ReadFile(s.log.Name())
			t.Logf("the program's log:\n%s", b)
		}
	})
	return s
}

// next returns the next notification.
func (s *service) next(t *testing.T) string {
	t.Helper()
	b := make([]byte, 4096)
	if err := s.socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, err := s.socket.Read(b)
	if err != nil {
		t.Fatalf("systemd was told nothing: %v", err)
	}
	return string(b[:n])
}

// until returns the notifications up to the wanted one, and fails where one comes that may not.
func (s *service) until(t *testing.T, want string, allowed ...string) (before []string) {
	t.Helper()
	for {
		got := s.next(t)
		if got == want {
			return before
		}
		ok := false
		for _, a := range allowed {
			ok = ok || strings.HasPrefix(got, a)
		}
		if !ok {
			t.Fatalf("systemd was told %q before %q", got, want)
		}
		before = append(before, got)
	}
}

// enrolment returns where to enrol and with what, as the program printed it.
func (s *service) enrolment(t *testing.T) (address, fingerprint, token string) {
	t.Helper()
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the program printed no line that enrols a device: %v", err)
		}
		if f := strings.Fields(line); len(f) == 8 && f[0] == "probity-agent" {
			return strings.TrimPrefix(f[3], "mqtts://"), f[5], f[7]
		}
	}
}

// end stops the program as systemd does; what else it may tell meanwhile is allowed.
func (s *service) end(t *testing.T, allowed ...string) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.until(t, "STOPPING=1", allowed...)
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("after SIGTERM the program ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the program does not end after SIGTERM")
	}
}

// say sends one message of a device that enrols, once, and returns the verifier's answer.
func say(t *testing.T, address, fingerprint, token string) *proto.EnrollDown {
	t.Helper()
	var id [32]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	device := hex.EncodeToString(id[:])
	o := mqtt.NewClientOptions().AddBroker("ssl://" + address).SetProtocolVersion(4).SetAutoReconnect(false)
	o.SetClientID("enroll-" + device).SetUsername(device).SetPassword(token).SetConnectTimeout(patience)
	o.SetTLSConfig(&tls.Config{
		InsecureSkipVerify: true, // the pinned CA is looked for instead, as agents do
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates {
				if sum := sha256.Sum256(c.Raw); fingerprint == "sha256:"+hex.EncodeToString(sum[:]) {
					return nil
				}
			}
			return errors.New("not the CA that was printed")
		},
	})
	c := mqtt.NewClient(o)
	done := func(what string, token mqtt.Token) {
		t.Helper()
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("%s: %v", what, token.Error())
		}
	}
	done("connect", c.Connect())
	defer c.Disconnect(0)
	answers := make(chan []byte, 1)
	tenant := strings.Split(token, ".")[1]
	topic := proto.Address{Tenant: tenant, Device: device, Leaf: proto.DownEnroll}
	done("subscribe", c.Subscribe(topic.String(), 1, func(_ mqtt.Client, m mqtt.Message) { answers <- m.Payload() }))
	hello, err := proto.Encode(&proto.EnrollUp{Hello: []byte("not a hello"), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	topic.Leaf = proto.UpEnroll
	done("publish", c.Publish(topic.String(), 1, false, hello))
	select {
	case b := <-answers:
		var down proto.EnrollDown
		if err := proto.Decode(b, &down); err != nil {
			t.Fatal(err)
		}
		return &down
	case <-time.After(patience):
		t.Fatal("systemd was told that the verifier is ready, and it does not hear a device")
		return nil
	}
}

// TestReadyMeansHeard: what a device says once, when systemd has just been told READY=1, is answered. Were it told
// earlier, the device could not connect, or its message would be lost, for brokers keep nothing for subscribers to come.
// Without WATCHDOG_USEC nothing but READY=1 and STOPPING=1 is told.
func TestReadyMeansHeard(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	s := newService(t, state, "127.0.0.1:0", 0)
	s.until(t, "READY=1")
	address, fingerprint, token := s.enrolment(t)
	s.end(t)
	for range 5 { // now that the device knows where to go, it need not wait for anything else
		s := newService(t, state, address, 0)
		s.until(t, "READY=1")
		if down := say(t, address, fingerprint, token); down.Denied == nil || down.Denied.Code != "hello-malformed" {
			t.Errorf("answer to a message that is no hello: %+v", down)
		}
		s.end(t)
	}
}

// TestWatchdog: a healthy verifier says so twice in each interval.
func TestWatchdog(t *testing.T) {
	const interval = 2 * time.Second
	s := newService(t, filepath.Join(t.TempDir(), "state"), "127.0.0.1:0", interval)
	// While it starts it is not healthy yet, and says so.
	s.until(t, "READY=1", "WATCHDOG=1", "STATUS=unhealthy: not connected to the MQTT broker")
	var beats []time.Time
	for len(beats) < 4 {
		if got := s.next(t); got != "WATCHDOG=1" {
			t.Fatalf("systemd was told %q, want WATCHDOG=1", got)
		}
		beats = append(beats, time.Now())
	}
	if took := beats[3].Sub(beats[0]); took < interval {
		t.Errorf("three beats in %s, want two in %s", took, interval)
	}
	s.end(t, "WATCHDOG=1")
}

const unitFile = "../../package/probity-verifier.service"

// unit returns the values of a key in the unit file.
func unit(t *testing.T, key string) []string {
	t.Helper()
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && name == key {
			out = append(out, value)
		}
	}
	return out
}

// TestUnit: the unit file fits the program.
func TestUnit(t *testing.T) {
	start := unit(t, "ExecStart")
	if len(start) != 1 {
		t.Fatalf("ExecStart = %q, want one", start)
	}
	words := strings.Fields(start[0])
	if words[0] != "/usr/bin/probity-verifier" {
		t.Errorf("ExecStart runs %s", words[0])
	}
	root := newRoot(nil, nil)
	flags := 0
	for _, w := range words[1:] {
		if name, ok := strings.CutPrefix(w, "--"); ok {
			flags++
			name, _, _ = strings.Cut(name, "=")
			if root.PersistentFlags().Lookup(name) == nil {
				t.Errorf("ExecStart has the flag --%s, which the program does not know", name)
			}
		}
	}
	if err := root.PersistentFlags().Parse(words[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("ExecStart: %v", err)
	}
	if flags == 0 {
		t.Error("ExecStart names no configuration")
	}
	for key, want := range map[string]string{
		"Type":                     "notify", // the program says READY=1
		"StateDirectory":           "probity-verifier",
		"StateDirectoryMode":       "0700",
		"RestartPreventExitStatus": fmt.Sprint(exitUsage),
		"CapabilityBoundingSet":    "",
		"NoNewPrivileges":          "yes",
	} {
		if got := unit(t, key); len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if len(unit(t, "WatchdogSec")) != 1 {
		t.Error("no WatchdogSec: a verifier that hangs would stay")
	}
}

// TestUnitVerifies has systemd itself read the unit file, with this test in the place of the program.
func TestUnitVerifies(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skipf("SKIPPED: systemd-analyze is not installed, so only TestUnit looks at the unit file: %v", err)
	}
	program, err := exec.LookPath("probity-verifier")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(unitFile))
	b = bytes.ReplaceAll(b, []byte("/usr/bin/probity-verifier"), []byte(program))
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
