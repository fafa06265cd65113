package broker

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	mqttclient "github.com/eclipse/paho.mqtt.golang"

	"github.com/probity-attest/probity/proto"
)

// BenchmarkRoundTrip measures reports that devices publish with QoS 1 over TLS and that the verifier answers with a receipt.
func BenchmarkRoundTrip(b *testing.B) {
	ca := newAuthority(b)
	broker, err := New(Config{Address: "127.0.0.1:0", TLS: ca.serverTLS(), Access: access{}, MessageRate: 1e9, MessageBurst: 1e9, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	if err := broker.Start(); err != nil {
		b.Fatal(err)
	}
	defer broker.Close()
	beds := &bed{ca: ca, address: broker.Addr().String()}
	wait := func(token mqttclient.Token) {
		if !token.WaitTimeout(patience) || token.Error() != nil {
			b.Errorf("no answer: %v", token.Error())
		}
	}
	var answered atomic.Int64
	vo := mqttclient.NewClientOptions().AddBroker("tcp://embedded").SetOrderMatters(false)
	vo.SetCustomOpenConnectionFn(func(*url.URL, mqttclient.ClientOptions) (net.Conn, error) { return broker.Dial(b.Context()) })
	v := mqttclient.NewClient(vo)
	wait(v.Connect())
	wait(v.Subscribe(proto.AllUp, 1, func(c mqttclient.Client, m mqttclient.Message) {
		from, err := proto.ParseAddress(m.Topic())
		if err != nil {
			b.Error(err)
		}
		from.Leaf = proto.DownReceipt
		c.Publish(from.String(), 1, false, m.Payload()[:64])
	}))
	const devices = 64
	receipts := make([]chan struct{}, devices)
	clients := make([]mqttclient.Client, devices)
	for n := range devices {
		receipts[n] = make(chan struct{}, 16)
		o := beds.with(ca.client("t", id(n))).SetClientID(id(n))
		o.TLSConfig.ServerName = "127.0.0.1"
		clients[n] = mqttclient.NewClient(o)
		wait(clients[n].Connect())
		wait(clients[n].Subscribe(topic("t", n, proto.DownReceipt), 1, func(mqttclient.Client, mqttclient.Message) {
			answered.Add(1)
			receipts[n] <- struct{}{}
		}))
	}
	payload := make([]byte, 600)
	var next atomic.Int64
	b.ResetTimer()
	var wg sync.WaitGroup
	for n := range devices {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				wait(clients[n].Publish(topic("t", n, proto.UpEvidence), 1, false, payload))
				<-receipts[n]
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
	if answered.Load() != int64(b.N) {
		b.Error(fmt.Errorf("%d of %d reports were answered", answered.Load(), b.N))
	}
	for _, c := range append(clients, v) {
		c.Disconnect(0)
	}
}
