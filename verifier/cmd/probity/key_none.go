//go:build !pkcs11

package main

import (
	"crypto"
	"errors"
)

// openToken opens a key in a token, which needs cgo and a build tag.
func openToken(string, func(name string) (string, error)) (crypto.Signer, func(), error) {
	return nil, nil, errors.New("this probity was built without PKCS#11: build it with CGO_ENABLED=1 and -tags pkcs11, or use a key file")
}
