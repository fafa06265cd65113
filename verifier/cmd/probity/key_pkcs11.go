//go:build pkcs11

package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"os"
	"strings"

	"github.com/miekg/pkcs11"
)

// mechanismEdDSA is CKM_EDDSA (PKCS #11 3.0, section 2.3.14), which the binding lacks.
const mechanismEdDSA = 0x1057

// tokenURI is what a PKCS#11 URI (RFC 7512) says of a key.
type tokenURI struct {
	token, object, id     string
	module, pin, pinValue string
}

// parseTokenURI reads the attributes that find a key; others are refused, since they would be left aside.
func parseTokenURI(s string) (u tokenURI, err error) {
	path, query, _ := strings.Cut(strings.TrimPrefix(s, tokenScheme), "?")
	set := func(list, separator string, known map[string]*string) error {
		for part := range strings.SplitSeq(list, separator) {
			if part == "" {
				continue
			}
			name, value, _ := strings.Cut(part, "=")
			to, ok := known[name]
			if !ok {
				return fmt.Errorf("PKCS#11 URI: attribute %q is not known here", name)
			}
			if *to, err = url.PathUnescape(value); err != nil {
				return fmt.Errorf("PKCS#11 URI: attribute %q: %w", name, err)
			}
		}
		return nil
	}
	kind := "private"
	if err := errors.Join(
		set(path, ";", map[string]*string{"token": &u.token, "object": &u.object, "id": &u.id, "type": &kind}),
		set(query, "&", map[string]*string{"module-path": &u.module, "pin-source": &u.pin, "pin-value": &u.pinValue}),
	); err != nil {
		return u, err
	}
	switch {
	case kind != "private":
		return u, fmt.Errorf("PKCS#11 URI: type %q, want private", kind)
	case u.module == "":
		return u, errors.New("PKCS#11 URI: no module-path: which library speaks to the token?")
	case u.object == "" && u.id == "":
		return u, errors.New("PKCS#11 URI: neither object nor id: which key of the token?")
	}
	return u, nil
}

// token is a key in a token, while a session is open.
type token struct {
	ctx     *pkcs11.Ctx
	session pkcs11.SessionHandle
	private pkcs11.ObjectHandle
	public  crypto.PublicKey
}

// openToken logs in to a token and finds a key and its public half. The PIN comes from pin-source, pin-value or the
// environment variable PROBITY_PKCS11_PIN.
func openToken(uri string, secret func(name string) (string, error)) (crypto.Signer, func(), error) {
	u, err := parseTokenURI(uri)
	if err != nil {
		return nil, nil, err
	}
	pin := u.pinValue
	switch {
	case u.pin != "":
		if pin, err = secret(strings.TrimPrefix(u.pin, "file:")); err != nil {
			return nil, nil, err
		}
	case pin == "":
		pin = os.Getenv("PROBITY_PKCS11_PIN")
	}
	ctx := pkcs11.New(u.module)
	if ctx == nil {
		return nil, nil, fmt.Errorf("%s: it is no PKCS#11 module that can be loaded", u.module)
	}
	t := &token{ctx: ctx}
	if err := ctx.Initialize(); err != nil {
		ctx.Destroy()
		return nil, nil, fmt.Errorf("%s: %w", u.module, err)
	}
	release := func() {
		_ = ctx.CloseSession(t.session) // the process ends; the token forgets the session either way
		_ = ctx.Finalize()
		ctx.Destroy()
	}
	if err := t.open(u, pin); err != nil {
		release()
		return nil, nil, err
	}
	return t, release, nil
}

func (t *token) open(u tokenURI, pin string) error {
	slots, err := t.ctx.GetSlotList(true)
	if err != nil {
		return fmt.Errorf("PKCS#11: list tokens: %w", err)
	}
	var found []string
	for _, slot := range slots {
		info, err := t.ctx.GetTokenInfo(slot)
		if err != nil {
			return fmt.Errorf("PKCS#11: token in slot %d: %w", slot, err)
		}
		label := strings.TrimRight(info.Label, " \x00")
		found = append(found, label)
		if u.token != "" && label != u.token {
			continue
		}
		if t.session, err = t.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
			return fmt.Errorf("PKCS#11: token %q: %w", label, err)
		}
		if err := t.ctx.Login(t.session, pkcs11.CKU_USER, pin); err != nil {
			return fmt.Errorf("PKCS#11: token %q: log in: %w (PIN from pin-source, pin-value or PROBITY_PKCS11_PIN)", label, err)
		}
		return t.find(u)
	}
	return fmt.Errorf("PKCS#11: no token %q; there are %q", u.token, found)
}

// find finds the private key and its public half by label and id.
func (t *token) find(u tokenURI) (err error) {
	if t.private, err = t.object(u, pkcs11.CKO_PRIVATE_KEY); err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	public, err := t.object(u, pkcs11.CKO_PUBLIC_KEY)
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	attributes, err := t.ctx.GetAttributeValue(t.session, public, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, nil), pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil),
	})
	if err != nil {
		return fmt.Errorf("PKCS#11: public key: %w: want an Ed25519, P-256 or P-384 key", err)
	}
	t.public, err = pointKey(attributes[0].Value, attributes[1].Value)
	return err
}

func (t *token) object(u tokenURI, class uint) (pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if u.object != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, u.object))
	}
	if u.id != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(u.id)))
	}
	if err := t.ctx.FindObjectsInit(t.session, template); err != nil {
		return 0, fmt.Errorf("PKCS#11: %w", err)
	}
	list, _, err := t.ctx.FindObjects(t.session, 2)
	if err = errors.Join(err, t.ctx.FindObjectsFinal(t.session)); err != nil {
		return 0, fmt.Errorf("PKCS#11: %w", err)
	}
	if len(list) != 1 {
		return 0, fmt.Errorf("PKCS#11: %d keys fit object %q and id %x, want 1", len(list), u.object, u.id)
	}
	return list[0], nil
}

// Curves as CKA_EC_PARAMS has them: an OID (RFC 5480, section 2.1.1.1; RFC 8410), or for Ed25519 its name.
var (
	oidP256    = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	oidP384    = asn1.ObjectIdentifier{1, 3, 132, 0, 34}
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
)

// pointKey makes a public key of its curve and its point, which stands in an OCTET STRING.
func pointKey(params, point []byte) (crypto.PublicKey, error) {
	var raw []byte
	if rest, err := asn1.Unmarshal(point, &raw); err != nil || len(rest) > 0 {
		raw = point // some tokens leave the OCTET STRING out
	}
	var oid asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(params, &oid); err != nil {
		if bytes.Contains(params, []byte("edwards25519")) {
			oid = oidEd25519
		}
	}
	switch {
	case oid.Equal(oidEd25519) && len(raw) == ed25519.PublicKeySize:
		return ed25519.PublicKey(raw), nil
	case oid.Equal(oidP256):
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	case oid.Equal(oidP384):
		return ecdsa.ParseUncompressedPublicKey(elliptic.P384(), raw)
	}
	return nil, fmt.Errorf("PKCS#11: a key on the curve %x: want Ed25519, P-256 or P-384", params)
}

// Public implements crypto.Signer.
func (t *token) Public() crypto.PublicKey { return t.public }

// Sign implements crypto.Signer: of a digest, for Ed25519 of the message.
func (t *token) Sign(_ io.Reader, data []byte, _ crypto.SignerOpts) ([]byte, error) {
	mechanism := uint(pkcs11.CKM_ECDSA)
	if _, ok := t.public.(ed25519.PublicKey); ok {
		mechanism = mechanismEdDSA
	}
	if err := t.ctx.SignInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, t.private); err != nil {
		return nil, fmt.Errorf("PKCS#11: sign: %w", err)
	}
	sig, err := t.ctx.Sign(t.session, data)
	if err != nil {
		return nil, fmt.Errorf("PKCS#11: sign: %w", err)
	}
	if mechanism == mechanismEdDSA {
		return sig, nil
	}
	// PKCS#11 gives r and s behind each other, crypto.Signer an ASN.1 sequence.
	n := len(sig) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])})
}
