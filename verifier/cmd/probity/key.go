package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/manifest"
)

// maxKeyFile is the largest file with a key or certificate in bytes.
const maxKeyFile = 64 << 10

// tokenScheme begins the URI of a key in a token (RFC 7512).
const tokenScheme = "pkcs11:"

// PEM types (RFC 7468).
const (
	pemPrivate     = "PRIVATE KEY"
	pemPublic      = "PUBLIC KEY"
	pemCertificate = "CERTIFICATE"
)

func (a *app) keyCommand() *cobra.Command {
	return group("key", "Make keys that sign manifests", a.keyGenerateCommand(), a.keyPublicCommand())
}

func (a *app) keyGenerateCommand() *cobra.Command {
	var kind, out string
	c := &cobra.Command{
		Use: "generate -O FILE", Short: "Make a private key", Args: need(),
		Long: `Make a private key in a new PKCS#8 file (PEM), which only its owner may read. It is not encrypted: for releases keep the
key in a hardware token, and sign with its PKCS#11 URI.`,
		Example: "  probity key generate --type p384 -O acme.pem\n  probity key public acme.pem -O acme.pub",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usagef(cmd, "-O is missing: which file to write?")
			}
			return a.generateKey(cmd, kind, out)
		},
	}
	c.Flags().StringVar(&kind, "type", "ed25519", "ed25519, p256 or p384")
	c.Flags().StringVarP(&out, "out", "O", "", "`FILE` to write; it must not be there yet")
	return c
}

func (a *app) generateKey(cmd *cobra.Command, kind, out string) error {
	var key crypto.Signer
	var err error
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "p256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		return usagef(cmd, "--type %q: want ed25519, p256 or p384", kind)
	}
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	if err := writeNew(out, pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der})); err != nil {
		return err
	}
	id, err := manifest.KeyID(key.Public())
	if err != nil {
		return err
	}
	a.say("wrote %s; key id %x", out, id)
	return nil
}

// writeNew writes a secret to a file that must not be there.
func writeNew(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: it is there already; a key is never overwritten", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(name) // half a key; what failed is said
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (a *app) keyPublicCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "public KEY", Short: "Show the public key of a private one, and its id", Args: need("KEY"),
		Long: `Write the public key of a private one (file or PKCS#11 URI), of a certificate or of another public key, as a PEM file that
others can trust. With -o json or yaml, its id and type are shown beside: signatures name the key by its id.`,
		Example: "  probity key public acme.pem -O acme.pub\n  probity key public acme.pub -o json",
		RunE:    func(_ *cobra.Command, args []string) error { return a.publicKey(args[0], out) },
	}
	c.Flags().StringVarP(&out, "out", "O", "-", "`FILE` to write, - is stdout")
	return c
}

func (a *app) publicKey(name, out string) error {
	key, err := a.anyPublicKey(name)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return fmt.Errorf("%s: %w", shownName(name), err)
	}
	id, err := manifest.KeyID(key)
	if err != nil {
		return fmt.Errorf("%s: %w", shownName(name), err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der})
	view := struct {
		KeyID  string `json:"key_id"`
		Type   string `json:"type"`
		Public string `json:"public_key"`
	}{hex.EncodeToString(id), keyType(key), string(text)}
	if out != "-" {
		if err := a.writeOut(out, text, 0o644); err != nil {
			return err
		}
		a.say("wrote %s; key id %x", out, id)
		return nil
	}
	return a.print(view, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// anyPublicKey returns the key of a public or private key, of a certificate, or in a token.
func (a *app) anyPublicKey(name string) (crypto.PublicKey, error) {
	if strings.HasPrefix(name, tokenScheme) {
		signer, release, err := openToken(name, a.readSecret)
		if err != nil {
			return nil, err
		}
		defer release()
		return signer.Public(), nil
	}
	b, err := a.readFile(name, maxKeyFile)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(b); block != nil && (block.Type == pemPublic || block.Type == pemCertificate) {
		return parsePublicKey(name, b)
	}
	signer, err := parsePrivateKey(name, b)
	if err != nil {
		return nil, err
	}
	return signer.Public(), nil
}

func keyType(key crypto.PublicKey) string {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return "ed25519"
	case *ecdsa.PublicKey:
		return strings.ToLower(strings.ReplaceAll(k.Curve.Params().Name, "-", ""))
	}
	return fmt.Sprintf("%T", key)
}

// openKey opens a private key: a file or the URI of one in a token. release must be called when it is no longer needed.
func (a *app) openKey(name string) (key crypto.Signer, release func(), err error) {
	if strings.HasPrefix(name, tokenScheme) {
		return openToken(name, a.readSecret)
	}
	b, err := a.readFile(name, maxKeyFile)
	if err != nil {
		return nil, nil, err
	}
	key, err = parsePrivateKey(name, b)
	return key, func() {}, err
}

// readSecret reads the first line of a file.
func (a *app) readSecret(name string) (string, error) {
	b, err := a.readFile(name, maxKeyFile)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

func parsePrivateKey(name string, b []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%s: no PEM block: want a PKCS#8 file that begins with -----BEGIN %s-----", shownName(name), pemPrivate)
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, fmt.Errorf("%s: the key is encrypted: decrypt it with openssl pkcs8 -in %s | probity ... --key -", shownName(name), name)
	case block.Type == "EC PRIVATE KEY":
		return nil, fmt.Errorf("%s: this is the old form of EC keys: convert it with openssl pkcs8 -topk8 -nocrypt -in %s", shownName(name), name)
	case block.Type != pemPrivate:
		return nil, fmt.Errorf("%s: it holds a %s, want a %s", shownName(name), block.Type, pemPrivate)
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, fmt.Errorf("%s: bytes behind the key", shownName(name))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shownName(name), err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T does not sign: want an Ed25519, P-256 or P-384 key", shownName(name), parsed)
	}
	return key, nil
}

// readPublicKey reads a public key or the key of a certificate.
func (a *app) readPublicKey(name string) (crypto.PublicKey, error) {
	b, err := a.readFile(name, maxKeyFile)
	if err != nil {
		return nil, err
	}
	return parsePublicKey(name, b)
}

func parsePublicKey(name string, b []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block: want a public key or a certificate", shownName(name))
	}
	switch block.Type {
	case pemPublic:
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shownName(name), err)
		}
		return key, nil
	case pemCertificate:
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shownName(name), err)
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("%s: it holds a %s, want a %s or a %s: probity key public %s makes one", shownName(name), block.Type,
		pemPublic, pemCertificate, name)
}
