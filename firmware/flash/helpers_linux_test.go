package flash

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// fakeRoot makes a folder with files; a value that begins with "->" is a symbolic link.
func fakeRoot(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(content, "->")
		var err error
		if link {
			err = os.Symlink(target, full)
		} else {
			err = os.WriteFile(full, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// mtdFiles returns what sysfs shows of an MTD device in a folder below sys/devices, with its link in sys/class/mtd.
func mtdFiles(files map[string]string, dir, device, name, kind, size, offset string) {
	at := "sys/devices/" + dir + "/" + device + "/"
	for k, v := range map[string]string{"name": name, "type": kind, "size": size, "erasesize": "65536", "flags": "0xc00"} {
		files[at+k] = v + "\n"
	}
	if offset != "" {
		files[at+"offset"] = offset + "\n"
	}
	up := "../../devices/"
	files["sys/class/mtd/"+device] = "->" + up + dir + "/" + device
	files["sys/class/mtd/"+device+"ro"] = "->" + up + dir + "/" + device + "ro"
}

// eraseMTD erases one block of a test device (MEMERASE, struct erase_info_user: two 32-bit words on every machine).
func eraseMTD(f *os.File, start, length uint32) error {
	info := struct{ start, length uint32 }{start, length}
	_, err := ioctl(f, request(false, 2, 8), unsafe.Pointer(&info))
	return err
}
