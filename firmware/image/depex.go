package image

import "strings"

var depexOps = map[byte]string{
	0x00: "BEFORE", 0x01: "AFTER", 0x02: "PUSH", 0x03: "AND", 0x04: "OR", 0x05: "NOT", 0x06: "TRUE", 0x07: "FALSE", 0x08: "END",
	0x09: "SOR",
}

// depex describes a dependency expression, which tells when a module is started (PI, volume 2, section 10.7).
func (s *Part) depex() {
	var words []string
	length := 0
	for b := s.Body(); len(b) > 0; {
		word, ok := depexOps[b[0]]
		if !ok {
			s.problem("dependency expression with the unknown operation %#02x", b[0])
			return
		}
		op := b[0]
		b = b[1:]
		if op <= 2 {
			if len(b) < 16 {
				s.problem("dependency expression is cut off")
				return
			}
			var g GUID
			copy(g[:], b)
			b = b[16:]
			if word += " " + g.String(); knownName(g) != "" {
				word += " (" + knownName(g) + ")"
			}
		}
		words = append(words, word)
		if length += len(word) + 1; op == 8 || length > MaxDetail {
			break
		}
	}
	s.Detail = shorten(strings.Join(words, " "), MaxDetail)
}
