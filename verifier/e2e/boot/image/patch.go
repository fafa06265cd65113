package image

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"unicode/utf16"
)

// PatchText changes every occurrence of a text in an image to another of the same length. It is for what is not
// compressed: the version in U-Boot, which alone goes into PCR 0, any other text in it, which nothing measures, or a
// text in a kernel.
func PatchText(image []byte, from, to string) ([]byte, error) {
	patched, n, err := replaceText(image, from, to)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("patch: %q is not in the image", from)
	}
	return patched, nil
}

// replaceText replaces a text in ASCII and returns how often it was there.
func replaceText(image []byte, from, to string) ([]byte, int, error) {
	if len(from) != len(to) || from == to || from == "" {
		return nil, 0, fmt.Errorf("patch: %q to %q: want different texts of the same length", from, to)
	}
	return bytes.ReplaceAll(image, []byte(from), []byte(to)), bytes.Count(image, []byte(from)), nil
}

// ubootVersion is how U-Boot names itself: version and time of building.
var ubootVersion = regexp.MustCompile(`U-Boot [0-9]{4}\.[0-9]{2}[!-~]* \([ -'*-~]+\)`)

// UBootVersion returns the text by which a U-Boot image names itself: all that it measures of itself.
func UBootVersion(image []byte) (string, error) {
	v := ubootVersion.Find(image)
	if v == nil {
		return "", errors.New("no version of U-Boot in the image")
	}
	return string(v), nil
}

// ubootText is printed at a command that does not exist: neither measured nor needed to boot.
const ubootText = "Unknown command"

// FlipUBoot changes a byte of a U-Boot image that belongs to the program but to nothing that it measures, and returns
// the image and the byte's offset. The machine boots as before: only a hash of the flash shows the change.
func FlipUBoot(image []byte) ([]byte, int, error) {
	at := bytes.Index(image, []byte(ubootText))
	if at < 0 {
		return nil, 0, fmt.Errorf("flip: %q is not in the image", ubootText)
	}
	return flip(image, at), at, nil
}

// FlipPadding changes a byte of OVMF's or AAVMF's code that nothing measures, and returns the image and the byte's
// offset: the machine boots as before, and only a hash of the flash shows the change.
//
// It is the filling behind the firmware volumes, where there is some. Otherwise it is erased flash behind the
// compressed volume: OVMF measures what it unpacked. AAVMF measures that flash, too, but has filling.
func FlipPadding(code []byte) ([]byte, int, error) {
	v, err := findVolume(code)
	if err != nil {
		return nil, 0, fmt.Errorf("flip: %w", err)
	}
	end, err := volumesEnd(code)
	if err != nil {
		return nil, 0, fmt.Errorf("flip: %w", err)
	}
	size := len(code) - end
	if size == 0 {
		end, size = v.fileEnd(), v.free(code)
	}
	if size < 2*minFree {
		return nil, 0, fmt.Errorf("flip: %d bytes of padding at %#x, want %d", size, end, 2*minFree)
	}
	at := end + size/2
	return flip(code, at), at, nil
}

// minFree is how far from used space a byte is changed: firmware looks for another file just behind the last one.
const minFree = 4096

func flip(image []byte, at int) []byte {
	flipped := slices.Clone(image)
	flipped[at] ^= 0x01
	return flipped
}

// wide encodes a text in UTF-16, as EFI's texts are.
func wide(s string) string {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) {
		b = le.AppendUint16(b, c)
	}
	return string(b)
}
