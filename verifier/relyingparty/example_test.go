package relyingparty_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/probity-attest/probity/verifier/relyingparty"
	"github.com/probity-attest/probity/verifier/result"
)

// A service lets a device in only if the verifier said, a short while ago, that it runs what its vendor published.
func Example() {
	// The verifier. A service has only the key set of GET /v1/keys, read by ParseKeys, and what the verifier signed.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	signer, err := result.NewSigner(key, "verifier.example", "1")
	if err != nil {
		log.Fatal(err)
	}
	id, err := result.KeyID(&key.PublicKey)
	if err != nil {
		log.Fatal(err)
	}
	pinned := map[string]*ecdsa.PublicKey{id: &key.PublicKey}

	checker, err := relyingparty.New(relyingparty.Config{Keys: pinned, Tenant: "acme", MaxAge: 10 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	at := time.Now()
	for _, state := range []result.State{result.Trusted, result.Untrusted} {
		ear, err := signer.Sign(result.Result{
			Tenant: "acme", Device: device, State: state, Level: result.Certified,
			IssuedAt: at.Add(-time.Minute), At: at, StaleAt: at.Add(time.Hour),
		})
		if err != nil {
			log.Fatal(err)
		}
		_, err = checker.Check(ear, device) // device: the CN of the certificate that it authenticated with
		fmt.Println(state, err == nil, errors.Is(err, relyingparty.ErrTier))
	}
	// Output:
	// trusted true false
	// untrusted false true
}
