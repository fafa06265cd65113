//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/probity-attest/probity/verifier/e2e/boot/guest"
)

// Addresses of QEMU's user mode network (QEMU's documentation, "Using the user mode network stack"). The host's own
// loopback is seen as the gateway.
var (
	guestAddress = netip.MustParsePrefix("10.0.2.15/24")
	hostAddress  = netip.MustParseAddr("10.0.2.2")
)

// How long a driver may take to make the interface, and the interface to have a link.
const (
	deviceTime = 3 * time.Second
	linkTime   = 8 * time.Second
)

// configure gives the interface its address and the default route, and waits for its link. It returns what it configured.
func configure(name string) (string, error) {
	s, err := dialNetlink()
	if err != nil {
		return "", err
	}
	defer s.close()
	if err := s.up("lo"); err != nil {
		return "", err
	}
	folder := filepath.Join("/sys/class/net", name)
	if !await(deviceTime, func() bool { _, err := os.Stat(folder); return err == nil }) {
		return "", fmt.Errorf("no device %s within %s", name, deviceTime)
	}
	index, err := s.index(name)
	if err != nil {
		return "", err
	}
	if err := s.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, addressMessage(index, guestAddress)); err != nil {
		return "", fmt.Errorf("address of %s: %w", name, err)
	}
	if err := s.up(name); err != nil {
		return "", err
	}
	if err := s.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, routeMessage(index, hostAddress)); err != nil {
		return "", fmt.Errorf("route over %s: %w", name, err)
	}
	if !await(linkTime, func() bool { return firstLine(filepath.Join(folder, "carrier")) == "1" }) {
		return "", fmt.Errorf("%s has no link after %s", name, linkTime)
	}
	return name + " " + guestAddress.String(), nil
}

// await waits for what the kernel tells nobody.
func await(limit time.Duration, is func() bool) bool {
	deadline := time.Now().Add(limit)
	for !is() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// netlink is a socket to the kernel's routing (rtnetlink(7)).
type netlink struct {
	fd       int
	sequence uint32
}

func dialNetlink() (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &netlink{fd: fd}, nil
}

func (s *netlink) close() { unix.Close(s.fd) }

func (s *netlink) index(name string) (uint32, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("interface %q: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r); err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return r.Uint32(), nil
}

func (s *netlink) up(name string) error {
	index, err := s.index(name)
	if err != nil {
		return err
	}
	if err := s.do(unix.RTM_NEWLINK, 0, upMessage(index)); err != nil {
		return fmt.Errorf("switch %s on: %w", name, err)
	}
	return nil
}

// do sends one request and waits for its acknowledgement.
func (s *netlink) do(kind, flags uint16, body []byte) error {
	s.sequence++
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body))) // struct nlmsghdr
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = binary.NativeEndian.AppendUint32(b, s.sequence)
	b = binary.NativeEndian.AppendUint32(b, 0)
	if err := unix.Sendto(s.fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 8192)
	for {
		n, _, err := unix.Recvfrom(s.fd, answer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if done, err := acknowledgement(answer[:n], s.sequence); done {
			return err
		}
	}
}

// acknowledgement finds the answer to a request among the messages of a datagram.
func acknowledgement(b []byte, sequence uint32) (bool, error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return true, fmt.Errorf("netlink message of %d bytes in %d", size, len(b))
		}
		if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR && binary.NativeEndian.Uint32(b[8:]) == sequence {
			if size < unix.NLMSG_HDRLEN+4 {
				return true, fmt.Errorf("netlink acknowledgement of %d bytes", size)
			}
			if errno := -int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])); errno != 0 {
				return true, unix.Errno(errno)
			}
			return true, nil
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return false, nil
}

// upMessage is struct ifinfomsg with IFF_UP set.
func upMessage(index uint32) []byte {
	b := []byte{unix.AF_UNSPEC, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, index)
	b = binary.NativeEndian.AppendUint32(b, unix.IFF_UP)
	return binary.NativeEndian.AppendUint32(b, unix.IFF_UP)
}

// addressMessage is struct ifaddrmsg with the address.
func addressMessage(index uint32, a netip.Prefix) []byte {
	b := []byte{unix.AF_INET, byte(a.Bits()), 0, unix.RT_SCOPE_UNIVERSE}
	b = binary.NativeEndian.AppendUint32(b, index)
	b = appendAttribute(b, unix.IFA_LOCAL, a.Addr().AsSlice())
	return appendAttribute(b, unix.IFA_ADDRESS, a.Addr().AsSlice())
}

// routeMessage is struct rtmsg of the default route over a gateway.
func routeMessage(index uint32, gateway netip.Addr) []byte {
	b := []byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	b = appendAttribute(b, unix.RTA_GATEWAY, gateway.AsSlice())
	return appendAttribute(b, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, index))
}

// appendAttribute appends struct rtattr with data, padded to 4 bytes.
func appendAttribute(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, (4-len(data)%4)%4)...)
}

// traffic reads the counters of an interface from the text of /proc/net/dev.
func traffic(text, name string) (guest.Traffic, error) {
	for line := range strings.Lines(text) {
		key, counters, ok := strings.Cut(line, ":")
		f := strings.Fields(counters)
		if !ok || strings.TrimSpace(key) != name || len(f) < 10 {
			continue
		}
		var t guest.Traffic
		for i, into := range map[int]*uint64{
			0: &t.ReceivedBytes, 1: &t.ReceivedPackets, 8: &t.SentBytes, 9: &t.SentPackets,
		} {
			var err error
			if *into, err = strconv.ParseUint(f[i], 10, 64); err != nil {
				return guest.Traffic{}, fmt.Errorf("counters of %s: %w", name, err)
			}
		}
		return t, nil
	}
	return guest.Traffic{}, fmt.Errorf("interface %s: %w", name, unix.ENODEV)
}
