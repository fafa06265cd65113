//go:build !pkcs11

package main

import (
	"strings"
	"testing"
)

func TestTokenNeedsTag(t *testing.T) {
	_, messages, err := invoke(t, nil, "key", "public", "pkcs11:object=x")
	if err == nil || !strings.Contains(messages, "-tags pkcs11") {
		t.Errorf("key public of a token's key: %v, %q, want the build tag", err, messages)
	}
}
