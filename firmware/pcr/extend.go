package pcr

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
)

// Extend replaces PCR i by H(old || digest) (Part 1, section 17.2). A PCR without a value counts as all zero.
func (b *Bank) Extend(i int, digest []byte) error {
	if i < 0 || i >= Count {
		return fmt.Errorf("extend: no PCR %d", i)
	}
	if len(digest) != b.size {
		return fmt.Errorf("extend PCR %d: %w: want %d bytes for %s, got %d", i, ErrSize, b.size, b.alg, len(digest))
	}
	if err := ExtendInto(b.alg, b.at(i), digest); err != nil {
		return fmt.Errorf("extend PCR %d: %w", i, err)
	}
	b.present |= 1 << i
	return nil
}

// ExtendInto replaces value by H(value || digest) without allocating. Both have the algorithm's size.
func ExtendInto(a Algorithm, value, digest []byte) error {
	n := a.Size()
	if n == 0 || len(value) != n || len(digest) != n {
		return fmt.Errorf("%w: %s, value of %d bytes, digest of %d", ErrSize, a, len(value), len(digest))
	}
	var in [2 * MaxDigest]byte
	copy(in[:], value)
	copy(in[n:], digest)
	switch a {
	case SHA1:
		h := sha1.Sum(in[:2*n])
		copy(value, h[:])
	case SHA256:
		h := sha256.Sum256(in[:2*n])
		copy(value, h[:])
	case SHA384:
		h := sha512.Sum384(in[:2*n])
		copy(value, h[:])
	case SHA512:
		h := sha512.Sum512(in[:2*n])
		copy(value, h[:])
	default:
		return fmt.Errorf("no implementation of %s", a)
	}
	return nil
}
