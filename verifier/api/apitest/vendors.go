package apitest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/link"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// publications returns the fleet that deals with manifests, deny-lists and who may sign them: it needs nothing but the store,
// so that a Fleet leaves all that to it. It reaches no devices.
func publications(tb testing.TB, s store.Store) *fleet.Fleet {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	nonces, err := challenge.New(make([]byte, challenge.KeySize))
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := result.NewSigner(key, "verifier.test", "test")
	if err != nil {
		tb.Fatal(err)
	}
	f, err := fleet.New(fleet.Config{
		Store: s, Sender: nobody{}, Enroller: nobody{}, Nonces: nonces, Signer: signer, Baseline: &fleet.BaselineKey{Key: key},
		Policy: appraise.DefaultPolicy(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// nobody is reached by nothing.
type nobody struct{}

func (nobody) Send(context.Context, proto.Address, link.Message) error { return nil }

func (nobody) Retain(context.Context, proto.Address, []byte) error { return nil }

func (nobody) Handle(context.Context, string, string, *proto.EnrollUp) (*proto.EnrollDown, error) {
	return nil, nil
}
