package verifier

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/authority"
	"github.com/probity-attest/probity/verifier/enroll"
)

// What the first start makes, so that nothing has to be set up.
const (
	firstTokenUses     = 100
	firstTokenLifetime = 24 * time.Hour
	operatorLifetime   = 365 * 24 * time.Hour
	// contextFile is the context of the command line, with an operator token: whoever reads it is an operator.
	contextFile = "operator.yaml"
)

func publicKeys(a *authority.Authority) []*ecdsa.PublicKey {
	return []*ecdsa.PublicKey{&a.SigningKey().PublicKey}
}

// welcome makes the operator's context if there is none and, where no device was ever let in, prints the one line that
// enrols the first.
func (v *Verifier) welcome(ctx context.Context, out io.Writer) error {
	path := filepath.Join(v.cfg.StateDir, contextFile)
	if err := v.saveContext(ctx, path); err != nil {
		return err
	}
	tokens, err := v.store.Tokens(ctx, v.cfg.Tenant)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, t := range tokens {
		if !t.Operator && (len(t.Devices) > 0 || t.Expires.After(now) && !t.Revoked) {
			return nil // there are devices, or a line was printed that still works
		}
	}
	text, token, err := enroll.NewToken(enroll.DeviceToken, v.cfg.Tenant)
	if err != nil {
		return err
	}
	token.Uses, token.Created, token.Expires = firstTokenUses, now, now.Add(firstTokenLifetime)
	if err := v.store.AddToken(ctx, token); err != nil {
		return err
	}
	v.first.Store(&firstToken{text, token.Uses, token.Expires})
	_, port, _ := net.SplitHostPort(v.MQTTAddr())
	fmt.Fprintf(out, `No device is enrolled yet. On each device, run:

  probity-agent run --verifier mqtts://%s --ca-fingerprint %s --token %s

The token lets in %d devices until %s. For more: probity token create
Operators on this machine: probity --context %s device list

`, net.JoinHostPort(v.cfg.hosts()[0], port), v.Fingerprint(), text, firstTokenUses,
		token.Expires.Local().Format("2006-01-02 15:04"), path)
	return nil
}

// firstToken is the token for the first devices, as long as this process runs: the store has only its digest.
type firstToken struct {
	text    string
	uses    int
	expires time.Time
}

// operatorContext is the context of the command line, as it reads it.
type operatorContext struct {
	URL         string `yaml:"url"`
	Fingerprint string `yaml:"ca_fingerprint"`
	Token       string `yaml:"token"`
}

// saveContext writes the operator's context: with a new token if there is none yet, with a new address if that changed.
func (v *Verifier) saveContext(ctx context.Context, path string) error {
	want := operatorContext{URL: v.apiURL(), Fingerprint: v.Fingerprint()}
	var have operatorContext
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if want.Token, err = v.operatorToken(ctx); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("operator's context: %w: remove it, and it is made again", err)
	default:
		if err := yaml.Unmarshal(b, &have); err != nil || have.Token == "" {
			return fmt.Errorf("operator's context %s is damaged: remove it, and it is made again", path)
		}
		want.Token = have.Token
	}
	if have == want {
		return nil
	}
	if b, err = yaml.Marshal(want); err != nil {
		return err
	}
	if err := writeWhole(path, b); err != nil {
		return fmt.Errorf("operator's context: %w", err)
	}
	v.log.Info("operator's context written", "file", path)
	return nil
}

func (v *Verifier) operatorToken(ctx context.Context) (string, error) {
	text, token, err := enroll.NewToken(enroll.OperatorToken, v.cfg.Tenant)
	if err != nil {
		return "", err
	}
	now := time.Now()
	token.Role, token.Name = string(v1.Admin), "first start"
	token.Created, token.Expires = now, now.Add(operatorLifetime)
	return text, v.store.AddToken(ctx, token)
}

// apiURL returns how operators on this machine reach the API.
func (v *Verifier) apiURL() string {
	host, port, _ := net.SplitHostPort(v.APIAddr())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = v.cfg.hosts()[0]
	}
	return "https://" + net.JoinHostPort(host, port)
}

// writeWhole writes a file for its owner only, so that it is there as a whole or not at all: half a context would stay
// for ever.
func writeWhole(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone if all went well
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
