package link

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/probity-attest/probity/proto"
)

// external returns a link to a broker elsewhere, with a device's certificate where there is one.
func (r *rig) external(address, clientID string) *Link {
	r.Helper()
	cfg := Config{
		Broker: address, ClientID: clientID, Handler: r.recorder,
		Log: slog.New(slog.NewTextHandler(&r.log, nil)),
	}
	if r.ca != nil {
		cfg.TLS = r.tlsOf(clientID)
	}
	l, err := New(cfg)
	if err != nil {
		r.Fatal(err)
	}
	return l
}

// mosquitto starts a broker that lets everybody in and returns its address.
func mosquitto(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/mosquitto")
	}
	if err != nil {
		t.Skip("mosquitto is not installed: links to brokers elsewhere are not tested")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	l.Close()
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return "tcp://" + address
}

// TestReplicas lets two links share a broker elsewhere: each message is dealt with once.
func TestReplicas(t *testing.T) {
	address := mosquitto(t)
	r := &rig{T: t, recorder: newRecorder(nil)}
	second := &rig{T: t, recorder: r.recorder}
	r.Link, second.Link = r.external(address, "first"), second.external(address, "second")
	for _, one := range []*rig{r, second} {
		run(t, one.Link)
		one.awaitReady()
	}
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(address).SetClientID("device").SetProtocolVersion(4))
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer c.Disconnect(0)
	const messages = 100
	for i := range messages {
		b, err := proto.Encode(&proto.State{Kind: proto.StateReady, Agent: strconv.Itoa(i)})
		if err != nil {
			t.Fatal(err)
		}
		if token := c.Publish(topic(id(i), proto.UpState).String(), 1, false, b); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	seen := make(map[string]bool)
	for range messages {
		c := r.next()
		if seen[c.text] {
			t.Errorf("message %s was handled twice", c.text)
		}
		seen[c.text] = true
	}
	// A result stays for whoever subscribes later, until it is cleared.
	to := topic(id(1), proto.Result)
	for _, payload := range []string{"result", "newer result", ""} {
		if err := r.Retain(t.Context(), to, []byte(payload)); err != nil {
			t.Fatal(err)
		}
		if got := retained(t, address, to.String()); got != payload {
			t.Errorf("published result %q, want %q", got, payload)
		}
	}
}

// retained returns what a new subscriber to a topic gets at once.
func retained(t *testing.T, address, topic string) string {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker(address).SetClientID("relying party").SetProtocolVersion(4)
	c := mqtt.NewClient(o)
	got := make(chan string, 10)
	hear := func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer c.Disconnect(0)
	if token := c.Subscribe(topic, 1, hear); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	// What comes after an own message on the topic was not retained.
	if token := c.Publish(topic, 1, false, ""); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	select {
	case s := <-got:
		return s
	case <-time.After(patience):
		t.Fatal("nothing came")
		return ""
	}
}
