//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// TestNetlink configures the loopback of a network of its own.
func TestNetlink(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends, and its network with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Logf("not run: no network of its own here: %v", err)
			return
		}
		s, err := dialNetlink()
		if err != nil {
			t.Error(err)
			return
		}
		defer s.close()
		if err := s.up("lo"); err != nil {
			t.Error(err)
			return
		}
		lo, err := net.InterfaceByName("lo")
		if err != nil || lo.Flags&net.FlagUp == 0 {
			t.Errorf("lo = %+v, %v, want it up", lo, err)
			return
		}
		if err := s.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, addressMessage(uint32(lo.Index), guestAddress)); err != nil {
			t.Errorf("address: %v", err)
		}
		addresses, err := lo.Addrs()
		if err != nil || !strings.Contains(joined(addresses), guestAddress.String()) {
			t.Errorf("addresses = %v, %v", addresses, err)
		}
		if err := s.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, routeMessage(uint32(lo.Index), hostAddress)); err != nil {
			t.Errorf("route: %v", err)
		}
		// Again: the kernel's refusal arrives.
		err = s.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, routeMessage(uint32(lo.Index), hostAddress))
		if !errors.Is(err, unix.EEXIST) {
			t.Errorf("route twice: %v, want EEXIST", err)
		}
		if err := s.up("no-such-device"); !errors.Is(err, unix.ENODEV) {
			t.Errorf("up of no device: %v, want ENODEV", err)
		}
	}()
	<-done
}

func joined(a []net.Addr) string {
	var s []string
	for _, x := range a {
		s = append(s, x.String())
	}
	return strings.Join(s, " ")
}

func TestAcknowledgement(t *testing.T) {
	message := func(kind uint16, sequence uint32, errno int32) []byte {
		b := binary.NativeEndian.AppendUint32(nil, 36)
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, 0)
		b = binary.NativeEndian.AppendUint32(b, sequence)
		b = binary.NativeEndian.AppendUint32(b, 0)
		b = binary.NativeEndian.AppendUint32(b, uint32(errno))
		return append(b, make([]byte, 16)...)
	}
	for name, c := range map[string]struct {
		b    []byte
		done bool
		err  error
	}{
		"nothing":         {nil, false, nil},
		"another's":       {message(unix.NLMSG_ERROR, 4, 0), false, nil},
		"another message": {message(unix.NLMSG_DONE, 5, 0), false, nil},
		"ours":            {message(unix.NLMSG_ERROR, 5, 0), true, nil},
		"behind another":  {append(message(unix.NLMSG_DONE, 5, 0), message(unix.NLMSG_ERROR, 5, 0)...), true, nil},
		"refusal":         {message(unix.NLMSG_ERROR, 5, -int32(unix.EPERM)), true, unix.EPERM},
	} {
		if done, err := acknowledgement(c.b, 5); done != c.done || !errors.Is(err, c.err) {
			t.Errorf("%s: acknowledgement = %v, %v, want %v, %v", name, done, err, c.done, c.err)
		}
	}
	for _, b := range [][]byte{message(unix.NLMSG_ERROR, 5, 0)[:20], make([]byte, 16)} {
		if done, err := acknowledgement(b, 5); !done || err == nil {
			t.Errorf("acknowledgement(%x) = %v, %v, want an error", b, done, err)
		}
	}
}

func TestCounters(t *testing.T) {
	const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth0: 1234567     890    0    0    0     0          0         0    98765     432    0    0    0     0       0          0
`
	got, err := traffic(dev, "eth0")
	want := guest.Traffic{ReceivedBytes: 1234567, ReceivedPackets: 890, SentBytes: 98765, SentPackets: 432}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("traffic: %v (-want +got):\n%s", err, diff)
	}
	if got, err := traffic(dev, "eth1"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("traffic of no interface = %+v, %v", got, err)
	}
	if got, err := traffic(strings.ReplaceAll(dev, "1234567", "many"), "eth0"); err == nil {
		t.Errorf("traffic of no numbers = %+v", got)
	}
	s, err := parseStatus("Name:\ta\nVmHWM:\t   12 kB\nVmRSS:\t    8 kB\nThreads:\t3\n", "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 31 0 0 20 0\n")
	wantStatus := guest.Status{Running: true, RSS: 8 << 10, PeakRSS: 12 << 10, Threads: 3, User: 2500 * time.Millisecond, System: 310 * time.Millisecond}
	if diff := cmp.Diff(wantStatus, s); diff != "" || err != nil {
		t.Errorf("parseStatus: %v (-want +got):\n%s", err, diff)
	}
	for _, stat := range []string{"", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 x y 0 0"} {
		if s, err := parseStatus("", stat); err == nil {
			t.Errorf("parseStatus(%q) = %+v", stat, s)
		}
	}
}
