// Package challenge makes and checks nonces without remembering them.
//
// A nonce is 32 bytes: the issue time in nanoseconds since 1970 (8 bytes, big-endian) and the first 24 bytes of an
// HMAC-SHA256 over purpose, tenant, device and that time. Any replica that shares the key checks it; none stores it.
// That a nonce is used once only follows from the device record: the time of the newest accepted one never goes back.
package challenge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/probity-attest/probity/proto"
)

// Purpose keeps a nonce for one step of the conversation from serving in another.
type Purpose string

// Purposes.
const (
	Evidence  Purpose = "evidence"
	Enrolment Purpose = "enrolment"
	activate  Purpose = "activate"
)

// KeySize is the size of the key that replicas share, in bytes.
const KeySize = 32

// skew is how far another replica's clock may be ahead of ours.
const skew = 5 * time.Second

// Reasons why a nonce is refused.
var (
	ErrForeign = errors.New("nonce was not issued by this verifier for this device")
	ErrExpired = errors.New("nonce has expired")
)

// Keys makes and checks nonces. It is safe for concurrent use.
type Keys struct {
	key  [KeySize]byte
	macs sync.Pool    // of hash.Hash, each an HMAC under key
	last atomic.Int64 // time of the newest nonce: two are never issued for the same instant
}

// New returns Keys over key, which has KeySize bytes.
func New(key []byte) (*Keys, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("nonce key: want %d bytes, got %d", KeySize, len(key))
	}
	k := &Keys{}
	copy(k.key[:], key)
	k.macs.New = func() any { return hmac.New(sha256.New, k.key[:]) }
	return k, nil
}

// Issue returns a nonce that no other call returned.
func (k *Keys) Issue(p Purpose, tenant, device string, now time.Time) []byte {
	at := now.UnixNano()
	for {
		last := k.last.Load()
		at = max(at, last+1)
		if k.last.CompareAndSwap(last, at) {
			break
		}
	}
	nonce := binary.BigEndian.AppendUint64(make([]byte, 0, proto.NonceSize), uint64(at))
	return append(nonce, k.mac(p, tenant, device, nonce)...)
}

// Nonce is a nonce that was checked. Check is its only constructor.
type Nonce struct {
	issued time.Time
	raw    [proto.NonceSize]byte
}

// IssuedAt returns when the nonce was issued.
func (n Nonce) IssuedAt() time.Time { return n.issued }

// Bytes returns the nonce.
func (n Nonce) Bytes() []byte { return n.raw[:] }

// Check returns the nonce if it was issued for this purpose, tenant and device at most lifetime before now. The checks,
// in order: size, MAC in constant time, age. Errors wrap ErrForeign or ErrExpired.
func (k *Keys) Check(p Purpose, tenant, device string, raw []byte, now time.Time, lifetime time.Duration) (Nonce, error) {
	if len(raw) != proto.NonceSize {
		return Nonce{}, fmt.Errorf("%w: %d bytes", ErrForeign, len(raw))
	}
	if !hmac.Equal(k.mac(p, tenant, device, raw[:8]), raw[8:]) {
		return Nonce{}, ErrForeign
	}
	n := Nonce{issued: time.Unix(0, int64(binary.BigEndian.Uint64(raw))).UTC()}
	copy(n.raw[:], raw)
	if last := time.Unix(0, k.last.Load()); last.After(now) {
		now = last // our clock was set back: what we issued before that is not of the future
	}
	switch age := now.Sub(n.issued); {
	case age > lifetime:
		return Nonce{}, fmt.Errorf("%w: issued %s ago, accepted for %s", ErrExpired, age.Round(time.Millisecond), lifetime)
	case age < -skew:
		return Nonce{}, fmt.Errorf("%w: issued %s in the future", ErrForeign, (-age).Round(time.Millisecond))
	}
	return n, nil
}

// Secret returns the credential that proves an enrolment: it depends on the nonce and on everything that the device said
// of itself, so that the verifier need not remember either.
func (k *Keys) Secret(tenant, device string, nonce []byte, hello []byte) []byte {
	sum := sha256.Sum256(hello)
	return k.sum(activate, tenant, device, nonce, sum[:])
}

func (k *Keys) mac(p Purpose, tenant, device string, at []byte) []byte {
	return k.sum(p, tenant, device, at)[:proto.NonceSize-8]
}

// sum frames every field with its length, so that no two inputs run together.
func (k *Keys) sum(p Purpose, tenant, device string, fields ...[]byte) []byte {
	h, _ := k.macs.Get().(hash.Hash)
	defer k.macs.Put(h)
	h.Reset()
	frame := func(b []byte) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	frame([]byte("probity/v1/nonce"))
	frame([]byte(p))
	frame([]byte(tenant))
	frame([]byte(device))
	for _, f := range fields {
		frame(f)
	}
	return h.Sum(nil)
}
