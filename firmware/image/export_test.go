package image

// ParseWithin is Parse with lower limits.
func ParseWithin(b []byte, unpacked, parts int) (*Image, error) {
	p := parser{budget: unpacked, parts: 1, maxParts: parts}
	return p.parse(b)
}
