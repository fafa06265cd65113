package corim

import "time"

// Signed is the COSE_Sign1 around a CoRIM (section 4.2). That it was read says nothing about its signature.
type Signed struct {
	Algorithm   int64 // of the COSE Algorithms registry: -7 ES256, -35 ES384, -8 EdDSA
	ContentType string
	KeyID       []byte
	Critical    []string // header parameters that must be understood, as text; nil: none
	Claims      *Claims  // CWT claims (RFC 9597); nil: none
	Others      []Field  // other protected parameters, corim-meta (8) among them
	Unprotected []Field

	Payload       []byte // the encoded CoRIM
	PayloadOffset int    // of Payload in the document
	Signature     []byte
}

// Claims is the CWT claims set in the protected header (section 4.2.2, RFC 8392).
type Claims struct {
	Issuer    string
	Subject   string
	Expires   time.Time // zero: none
	NotBefore time.Time // zero: none
	Others    []Field
}

// Media type of a CoRIM's payload (section 11.12.1).
const ContentType = "application/rim+cbor"

// signed reads a COSE_Sign1 after its tag.
func (r *reader) signed() *Signed {
	s := &Signed{}
	r.exactly("COSE_Sign1", 4)
	protected := r.bytes("COSE_Sign1: protected header")
	if at := r.off - len(protected); r.err == nil {
		if len(protected) > maxHeader {
			r.fail(at, "COSE_Sign1: protected header of %d bytes, at most %d allowed", len(protected), maxHeader)
			return s
		}
		in := r.within(protected, at)
		in.header(s)
		r.err = in.err
	}
	s.Unprotected = r.fields("COSE_Sign1: unprotected header", nil, func(int64) bool { return false })
	at := r.off
	if r.peek() == majorSimple {
		r.fail(at, "COSE_Sign1: the payload is detached: want the CoRIM in it")
	}
	s.Payload = r.bytes("COSE_Sign1: payload")
	s.PayloadOffset = r.off - len(s.Payload)
	s.Signature = r.bytes("COSE_Sign1: signature")
	return s
}

// header reads the protected header (section 4.2.1).
func (r *reader) header(s *Signed) {
	s.Others = r.fields("protected header", []int64{1, 3}, func(key int64) bool {
		switch key {
		case 1:
			s.Algorithm = r.int("algorithm (1)")
		case 2:
			r.list("critical parameters (2)", 1, maxFields, func() {
				text, _ := diagnose(r.raw()) // a label: a number or text
				s.Critical = append(s.Critical, text)
			})
		case 3:
			s.ContentType = r.text("content type (3)")
		case 4:
			s.KeyID = r.bytes("key id (4)")
		case 15:
			s.Claims = r.claims()
		default:
			return false
		}
		return true
	})
}

func (r *reader) claims() *Claims {
	c := &Claims{}
	c.Others = r.fields("CWT claims (15)", []int64{1}, func(key int64) bool {
		switch key {
		case 1:
			c.Issuer = r.text("issuer (1)")
		case 2:
			c.Subject = r.text("subject (2)")
		case 4:
			c.Expires = r.seconds("expiration (4)")
		case 5:
			c.NotBefore = r.seconds("not before (5)")
		default:
			return false
		}
		return true
	})
	return c
}
