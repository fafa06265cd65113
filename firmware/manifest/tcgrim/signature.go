package tcgrim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Namespace and algorithms of XML Signature (XML Signature 1.1, sections 6.2 to 6.6; RFC 6931, section 2).
const (
	nsDSig    = "http://www.w3.org/2000/09/xmldsig#"
	c14n10    = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
	enveloped = nsDSig + "enveloped-signature"
)

var digestMethods = map[string]crypto.Hash{
	"http://www.w3.org/2001/04/xmlenc#sha256":       crypto.SHA256,
	"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384,
	"http://www.w3.org/2001/04/xmlenc#sha512":       crypto.SHA512,
}

var signatureMethods = map[string]x509.SignatureAlgorithm{
	"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256":   x509.SHA256WithRSA,
	"http://www.w3.org/2001/04/xmldsig-more#rsa-sha384":   x509.SHA384WithRSA,
	"http://www.w3.org/2001/04/xmldsig-more#rsa-sha512":   x509.SHA512WithRSA,
	"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": x509.ECDSAWithSHA256,
	"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384": x509.ECDSAWithSHA384,
	"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512": x509.ECDSAWithSHA512,
}

// signature is the one form of signature that counts.
type signature struct {
	element    *node
	signedInfo *node
	method     x509.SignatureAlgorithm
	value      []byte
	hash       crypto.Hash
	digest     []byte
}

// find does check 2 of Open: one enveloped signature in the root, which refers to the whole document.
func find(root *node) (*signature, error) {
	list := root.elements(nsDSig, "Signature")
	if len(list) != 1 {
		return nil, fmt.Errorf("%w: want one enveloped signature, got %d", ErrSignature, len(list))
	}
	s := &signature{element: list[0]}
	var value *node
	var err error
	if s.signedInfo, err = one(s.element, "SignedInfo"); err != nil {
		return nil, err
	}
	if value, err = one(s.element, "SignatureValue"); err != nil {
		return nil, err
	}
	if s.value, err = decode(value); err != nil {
		return nil, err
	}
	if err := s.methods(); err != nil {
		return nil, err
	}
	return s, s.reference()
}

func one(n *node, local string) (*node, error) {
	list := n.elements(nsDSig, local)
	if len(list) != 1 {
		return nil, fmt.Errorf("signature: want one %s in %s, got %d", local, n.local, len(list))
	}
	return list[0], nil
}

// decode returns the content of n in base64, whose lines are broken somewhere.
func decode(n *node) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.content()), ""))
	if err != nil {
		return nil, fmt.Errorf("signature: %s is not base64: %w", n.local, err)
	}
	return b, nil
}

func (s *signature) methods() error {
	m, err := one(s.signedInfo, "CanonicalizationMethod")
	if err != nil {
		return err
	}
	if a := m.attribute("Algorithm"); a != c14n10 {
		return fmt.Errorf("signature: canonicalisation %q: want %s", a, c14n10)
	}
	if m, err = one(s.signedInfo, "SignatureMethod"); err != nil {
		return err
	}
	var known bool
	if s.method, known = signatureMethods[m.attribute("Algorithm")]; !known {
		return fmt.Errorf("signature: method %q: want RSA or ECDSA with SHA-256, SHA-384 or SHA-512", m.attribute("Algorithm"))
	}
	return nil
}

// reference finds the reference to the document. Others, which timestamps have to objects in the signature, cover
// nothing that is read.
func (s *signature) reference() error {
	var whole []*node
	for _, r := range s.signedInfo.elements(nsDSig, "Reference") {
		if r.attribute("URI") == "" {
			whole = append(whole, r)
		}
	}
	if len(whole) != 1 {
		return fmt.Errorf("signature: want one reference to the whole document, got %d", len(whole))
	}
	transforms, err := one(whole[0], "Transforms")
	if err != nil {
		return err
	}
	var names []string
	for _, t := range transforms.elements(nsDSig, "Transform") {
		names = append(names, t.attribute("Algorithm"))
	}
	if got := strings.Join(names, " "); got != enveloped && got != enveloped+" "+c14n10 {
		return fmt.Errorf("signature: transforms %q: want %q, and %q at most", got, enveloped, c14n10)
	}
	method, err := one(whole[0], "DigestMethod")
	if err != nil {
		return err
	}
	var known bool
	if s.hash, known = digestMethods[method.attribute("Algorithm")]; !known {
		return fmt.Errorf("signature: digest %q: want SHA-256, SHA-384 or SHA-512", method.attribute("Algorithm"))
	}
	value, err := one(whole[0], "DigestValue")
	if err != nil {
		return err
	}
	s.digest, err = decode(value)
	return err
}

// verify does check 3 of Open.
func (s *signature) verify(root *node, signers []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if len(signers) > MaxSigners {
		return nil, fmt.Errorf("%d certificates, at most %d are tried", len(signers), MaxSigners)
	}
	h := s.hash.New()
	h.Write(canonical(root, s.element))
	if !bytes.Equal(h.Sum(nil), s.digest) {
		return nil, fmt.Errorf("%w: the document is not the one that was signed", ErrSignature)
	}
	info := canonical(s.signedInfo, nil)
	why := errors.New("none is given")
	for _, c := range signers {
		if err := s.check(info, c, now); err != nil {
			why = fmt.Errorf("%s: %w", c.Subject, err)
			continue
		}
		return c, nil
	}
	return nil, fmt.Errorf("%w: %w", ErrSignature, why)
}

func (s *signature) check(info []byte, c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return fmt.Errorf("the certificate is valid from %s to %s only", c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339))
	}
	value := s.value
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return fmt.Errorf("an RSA key of %d bits is too short", k.N.BitLen())
		}
	case *ecdsa.PublicKey: // both numbers after each other (RFC 6931, section 2.3.6), which Go has in ASN.1
		n := (k.Curve.Params().N.BitLen() + 7) / 8
		if len(value) != 2*n {
			return fmt.Errorf("an ECDSA signature of %d bytes, want %d", len(value), 2*n)
		}
		var err error
		value, err = asn1.Marshal([]*big.Int{new(big.Int).SetBytes(value[:n]), new(big.Int).SetBytes(value[n:])})
		if err != nil {
			return err
		}
	}
	return c.CheckSignature(s.method, info, value)
}
