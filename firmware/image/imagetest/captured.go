package imagetest

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
)

// Captured returns the content of the file with this base name and SHA-256 digest, nil if it is on no place where
// distributions' packages are: below dirs, which may be folders that packages were unpacked into. Captured boots are of
// certain versions of firmware and loaders; another version of a file cannot show what they measured.
func Captured(base, digest string, dirs ...string) []byte {
	var found []byte
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != base || !d.Type().IsRegular() {
				return nil // a folder that cannot be read has no file for us
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) == digest {
				found = b
				return fs.SkipAll
			}
			return nil
		})
		if found != nil {
			break
		}
	}
	return found
}

// PackageDirs are where Captured looks: what distributions' packages install, and where the boot tests unpack them.
func PackageDirs() []string {
	dirs := []string{"/usr/share/OVMF", "/usr/share/AAVMF", "/usr/lib/ipxe", "/usr/lib/shim", "/usr/lib/grub", "/usr/lib/systemd/boot"}
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(cache, "probity", "boot"))
	}
	return dirs
}
