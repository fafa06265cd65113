package eventlog

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// hashTypes are the signature types whose signatures are digests (UEFI 2.10, section 32.4.1), with their sizes in
// bytes. The digests of certificates are followed by an EFI_TIME of 16 bytes.
var hashTypes = map[guid]struct {
	name string
	size int
	time int
}{
	guidCertSHA1:       {"sha1", 20, 0},
	guidCertSHA256:     {"sha256", 32, 0},
	guidCertSHA384:     {"sha384", 48, 0},
	guidCertSHA512:     {"sha512", 64, 0},
	guidCertX509SHA256: {"certificate sha256", 32, 16},
	guidCertX509SHA384: {"certificate sha384", 48, 16},
	guidCertX509SHA512: {"certificate sha512", 64, 16},
}

// signatures is a decoded signature database.
type signatures struct {
	certificates []map[string]any
	hashes       []string       // "sha256:..." at most maxListed
	counts       map[string]int // by kind, without limit
	problem      string         // why decoding stopped, empty if all was read
}

// parseSignatures reads a sequence of EFI_SIGNATURE_LISTs: type, list size, header size, signature size, header,
// signatures. The list's own header is skipped by its declared size, so that none of its bytes can pass for a
// signature, and the signatures must fill the list exactly. Lists do not nest; the loop is bounded.
func parseSignatures(b []byte) signatures {
	s := signatures{counts: map[string]int{}}
	for lists := 0; len(b) > 0; lists++ {
		const fixed = 28
		r := reader{b: b}
		kind, listSize, headerSize, size := r.guid(), uint64(r.u32()), uint64(r.u32()), uint64(r.u32())
		switch {
		case lists == maxLists:
			s.problem = "too many signature lists"
		case r.bad:
			s.problem = "signature list is cut off"
		case listSize < fixed+headerSize || listSize > uint64(len(b)):
			s.problem = fmt.Sprintf("signature list claims %d bytes, %d left", listSize, len(b))
		case size <= 16 || (listSize-fixed-headerSize)%size != 0:
			s.problem = fmt.Sprintf("signatures of %d bytes do not fill a list of %d", size, listSize)
		case hashTypes[kind].size != 0 && size != uint64(16+hashTypes[kind].size+hashTypes[kind].time):
			s.problem = fmt.Sprintf("%s signatures of %d bytes", hashTypes[kind].name, size)
		}
		if s.problem != "" {
			return s
		}
		s.addList(kind, b[fixed+headerSize:listSize], int(size))
		b = b[listSize:]
	}
	return s
}

// addList adds the EFI_SIGNATURE_DATA of one list: an owner's GUID and a signature each.
func (s *signatures) addList(kind guid, b []byte, size int) {
	for ; len(b) >= size; b = b[size:] {
		data := b[16:size]
		if h, ok := hashTypes[kind]; ok {
			s.counts[h.name]++
			if len(s.hashes) < maxListed {
				s.hashes = append(s.hashes, h.name+":"+hex.EncodeToString(data[:h.size]))
			}
			continue
		}
		switch kind {
		case guidCertX509:
			s.counts["certificates"]++
			if len(s.certificates) < maxCertificates {
				c := describeCertificate(data)
				c["owner"] = guid(b[:16]).name()
				s.certificates = append(s.certificates, c)
			}
		case guidCertRSA2048:
			s.counts["rsa2048 keys"]++
		default:
			s.counts["signatures of type "+kind.String()]++
		}
	}
}

func describeDatabase(b []byte, fields map[string]any) string {
	if len(b) == 0 {
		return "empty"
	}
	s := parseSignatures(b)
	parts := make([]string, 0, len(s.counts)+1)
	for kind, n := range s.counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, kind))
	}
	sort.Strings(parts)
	if len(parts) > maxListed {
		parts = append(parts[:maxListed], "...")
	}
	fields["counts"] = strings.Join(parts, ", ")
	if s.certificates != nil {
		fields["certificates"] = s.certificates
	}
	if s.hashes != nil {
		fields["hashes"] = s.hashes
	}
	if s.problem != "" {
		fields["problem"] = s.problem
		parts = append(parts, "then unreadable: "+s.problem)
	}
	return strings.Join(parts, ", ")
}

// describeAuthority decodes what a EV_EFI_VARIABLE_AUTHORITY event carries: the EFI_SIGNATURE_DATA that a signature
// check used (PFP section 3.3.4.8), where shim leaves out the owner of its own certificate or measures a setting.
func describeAuthority(v variable, fields map[string]any) string {
	der := v.data
	if !looksLikeCertificate(der) && len(der) > 16 && looksLikeCertificate(der[16:]) {
		fields["owner"] = guid(der[:16]).name()
		der = der[16:]
	}
	if looksLikeCertificate(der) {
		c := describeCertificate(der)
		fields["certificate"] = c
		return fmt.Sprint(c["subject"])
	}
	if len(v.data) == 16+32 {
		fields["owner"] = guid(v.data[:16]).name()
		return "image digest " + hex.EncodeToString(v.data[16:])
	}
	return textOrHex(v.data)
}

func looksLikeCertificate(b []byte) bool { return len(b) > 4 && b[0] == 0x30 && b[1] == 0x82 }

// describeCertificate decodes a DER certificate. Odd ones, which real databases hold, are told by their digest.
func describeCertificate(der []byte) map[string]any {
	sum := sha256.Sum256(der)
	c := map[string]any{"sha256": hex.EncodeToString(sum[:])}
	var x *x509.Certificate
	err := errors.New("too large")
	if len(der) <= maxCertificate {
		x, err = x509.ParseCertificate(der)
	}
	if err != nil {
		c["subject"] = "unreadable certificate " + hex.EncodeToString(sum[:8])
		return c
	}
	c["subject"] = safeText([]byte(x.Subject.String()), maxSlot)
	c["issuer"] = safeText([]byte(x.Issuer.String()), maxSlot)
	c["serial"] = safeText([]byte(x.SerialNumber.Text(16)), maxSlot)
	c["not_after"] = x.NotAfter.UTC().Format("2006-01-02")
	return c
}
