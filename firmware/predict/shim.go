package predict

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/binary"

	"github.com/probity-attest/probity/firmware/eventlog"
)

// mokPCR is where shim measures the keys of the machine's owner.
const mokPCR = 14

// vendorKeys reads shim's .vendor_cert section: the sizes and offsets of the vendor's certificate, or signature lists,
// and of its deny-list (shim, cert.S).
func vendorKeys(section []byte) (allowed, denied []byte, err error) {
	if len(section) < 16 {
		return nil, nil, inputError("shim's section .vendor_cert has %d bytes, want at least 16", len(section))
	}
	field := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(section[4*i:])) }
	for i := range uint64(2) {
		if field(int(i))+field(int(i)+2) > uint64(len(section)) {
			return nil, nil, inputError("shim's section .vendor_cert of %d bytes: list %d reaches behind its end", len(section), i)
		}
	}
	allowed = section[field(2) : field(2)+field(0)]
	denied = section[field(3) : field(3)+field(1)]
	if len(allowed) > 2 && allowed[0] == 0x30 && allowed[1] == 0x82 { // a bare certificate
		allowed = signatureList(guidCertX509, guidShimLock, allowed)
	}
	return allowed, denied, nil
}

// shim lists what shim measures of its keys into PCR 14. They are mirrored to variables of the running system even if
// the owner has enrolled none: then there are the vendor's alone, or an entry that matches nothing.
func (b *builder) shim(p *program) error {
	allowed, denied, err := vendorKeys(p.section(".vendor_cert"))
	if err != nil {
		return err
	}
	if b.vars != nil { // the firmware keeps them in the same store
		allowed = append(allowed[:len(allowed):len(allowed)], b.vars.get(guidShimLock, "MokList")...)
		denied = append(denied[:len(denied):len(denied)], b.vars.get(guidShimLock, "MokListX")...)
	}
	dummy := signatureList(guidCertSHA256, guidShimLock, make([]byte, 32))
	for _, v := range []struct {
		name, note string
		content    []byte
	}{
		{"MokList", "keys of shim and of the machine's owner", allowed},
		{"MokListX", "keys and programs that shim refuses", denied},
		{"MokListTrusted", "Linux trusts these keys", []byte{1}},
	} {
		if len(v.content) == 0 {
			v.content = dummy
		}
		if v.name == "MokListTrusted" && !bytes.Contains(p.Content, utf16z(v.name)) {
			continue // older shims do not know it
		}
		b.add(record{
			pcr: mokPCR, typ: eventlog.IPL, data: append([]byte(v.name), 0), content: v.content, note: v.note,
		})
	}
	b.assume(mokPCR, "the machine's owner has enrolled no keys and not turned validation off")
	return nil
}

// shimAuthorities lists shim's part of PCR 7: the revocation level that it sets, and the key that lets the next
// programs run. a is nil if Secure Boot is off: then programs are not checked.
func (b *builder) shimAuthorities(a *authority) {
	p := b.has(programShim)
	if p == nil {
		return
	}
	level := record{
		pcr: secureBootPCR, typ: eventlog.EFIVariableAuthority, note: "revocation level of shim",
		data: variableData(guidShimLock, "SbatLevel", nil),
	}
	if text := b.sbatLevel(p); text == nil {
		level.reason = "shim has no revocation level of a known form"
	} else {
		level.data = variableData(guidShimLock, "SbatLevel", text)
		b.assume(secureBootPCR, "no newer revocation level than shim's own was set before")
	}
	b.add(level)
	if a == nil {
		return
	}
	for _, next := range b.chain[1:] {
		b.shimVerifies(a, p, next)
	}
}

// originalLevel is the one that shim sets if Secure Boot is off.
var originalLevel = []byte("sbat,1,2021030218\n")

// sbatLevel returns the level that shim sets by itself: the first of two in its section .sbatlevel, behind a version
// and their offsets. With Secure Boot off, it sets the oldest.
func (b *builder) sbatLevel(p *program) []byte {
	if b.secure == eventlog.SecureBootUnknown {
		return nil
	}
	if b.secure == eventlog.SecureBootOff {
		if bytes.Contains(p.Content, originalLevel) {
			return originalLevel
		}
		return nil
	}
	s := p.section(".sbatlevel")
	if len(s) < 12 || binary.LittleEndian.Uint32(s) != 0 {
		return nil
	}
	at := uint64(4) + uint64(binary.LittleEndian.Uint32(s[4:]))
	if at >= uint64(len(s)) {
		return nil
	}
	text, _, _ := bytes.Cut(s[at:], []byte{0})
	if !bytes.HasPrefix(text, []byte("sbat,1,")) {
		return nil
	}
	return text
}

// shimVerifies adds the key that shim finds for a program: of db, else of its own.
func (b *builder) shimVerifies(a *authority, shim, p *program) {
	r := record{
		pcr: secureBootPCR, typ: eventlog.EFIVariableAuthority, data: variableData(guidShimLock, "MokListRT", nil),
		note: "key of shim that lets " + cmp.Or(p.Path, "the program") + " run",
	}
	if b.vars != nil {
		if entry, err := findAuthority(p, a.db); err == nil {
			r.data = variableData(guidDatabase, "db", entry.raw)
			a.add(r)
			return
		}
	}
	allowed, _, err := vendorKeys(shim.section(".vendor_cert"))
	if err == nil {
		var keys []signature
		if keys, err = parseDatabase(allowed); err == nil {
			var entry signature
			if entry, err = findAuthority(p, keys); err == nil {
				if c, err := x509.ParseCertificate(entry.data()); err == nil {
					r.note += ": " + c.Subject.String()
				}
				r.data = variableData(guidShimLock, "MokListRT", entry.raw)
			}
		}
	}
	switch {
	case err != nil:
		r.reason = err.Error()
	case b.vars == nil:
		r.reason = "db is not known, and shim looks there first"
	}
	a.add(r)
}
