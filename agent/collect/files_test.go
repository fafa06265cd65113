package collect

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/probity-attest/probity/firmware/hostfs"
	"github.com/probity-attest/probity/proto"
)

func TestBootLog(t *testing.T) {
	tr := newTree(t)
	tr.write(bootLog, "log")
	got, un := tr.collector().BootLog()
	if string(got) != "log" || un != nil {
		t.Errorf("BootLog = %q, %v", got, un)
	}
	largest := strings.Repeat("x", proto.MaxBootLog)
	tr.write(bootLog, largest)
	if got, un := tr.collector().BootLog(); len(got) != proto.MaxBootLog || un != nil {
		t.Errorf("BootLog of the largest size = %d bytes, %v", len(got), un)
	}
}

func TestBootLogUnavailable(t *testing.T) {
	for _, tc := range []struct {
		name  string
		make  func(tree)
		cause proto.Cause
		says  string
	}{
		{"no securityfs", func(tree) {}, proto.CauseNotFound, "mount -t securityfs securityfs"},
		{"securityfs not mounted", func(tr tree) {
			tr.write(securityfs+"/x", "")
			tr.remove(securityfs + "/x")
		}, proto.CauseNotFound, "not mounted"},
		{"securityfs is a file", func(tr tree) { tr.write(securityfs, "") }, proto.CauseNotFound, "not mounted"},
		{"no TPM", func(tr tree) { tr.write(securityfs+"/lsm", "") }, proto.CauseNotFound, "no TPM driver"},
		{"empty", func(tr tree) { tr.write(bootLog, "") }, proto.CauseMalformed, "is empty"},
		{"too large", func(tr tree) { tr.write(bootLog, strings.Repeat("x", proto.MaxBootLog+1)) }, proto.CauseTooLarge, "over 1048576 bytes"},
		{"a directory", func(tr tree) { tr.write(bootLog+"/x", "") }, proto.CauseMalformed, "not a regular file"},
		{"a named pipe", func(tr tree) {
			tr.write(securityfs+"/tpm0/x", "")
			tr.must(syscall.Mkfifo(tr.path(bootLog), 0o644))
		}, proto.CauseMalformed, "not a regular file"},
		{"a loop", func(tr tree) { tr.link("binary_bios_measurements", bootLog) }, proto.CauseIO, "too many"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := newTree(t)
			tc.make(tr)
			b, un := tr.collector().BootLog()
			wantCause(t, un, tc.cause, tc.says)
			if b != nil {
				t.Errorf("%d bytes beside a reason", len(b))
			}
		})
	}
}

func TestBootID(t *testing.T) {
	tr := newTree(t)
	tr.write(bootID, "5d4a50e2-3d30-4ddc-b09b-4ac06bc78597\n")
	want := []byte("\x5d\x4a\x50\xe2\x3d\x30\x4d\xdc\xb0\x9b\x4a\xc0\x6b\xc7\x85\x97")
	if got, err := tr.collector().BootID(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("BootID = %x, %v", got, err)
	}
	for _, bad := range []string{"", "5d4a50e2", "zz4a50e2-3d30-4ddc-b09b-4ac06bc78597"} {
		tr.write(bootID, bad)
		if _, err := tr.collector().BootID(); err == nil || !strings.Contains(err.Error(), "want a UUID") {
			t.Errorf("BootID of %q: %v", bad, err)
		}
	}
	tr.remove(bootID)
	if _, err := tr.collector().BootID(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("BootID without a file: %v", err)
	}
}

func TestDevicesAreNotOpened(t *testing.T) {
	if _, err := os.Stat("/dev/zero"); err != nil {
		t.Skipf("skipped: %v", err)
	}
	if _, err := root("/").read("dev/zero", 100); !errors.Is(err, hostfs.ErrNotRegular) {
		t.Errorf("read of /dev/zero: %v, want ErrNotRegular", err)
	}
	if _, err := root("/").names("dev/zero", 1); !isMissing(err) {
		t.Errorf("names in /dev/zero: %v", err)
	}
}

func TestCauses(t *testing.T) {
	for err, want := range map[error]proto.Cause{
		syscall.ENOENT: proto.CauseNotFound, syscall.ENOTDIR: proto.CauseNotFound, syscall.EACCES: proto.CausePermission,
		syscall.EPERM: proto.CausePermission, syscall.EIO: proto.CauseIO, syscall.ENODEV: proto.CauseNoSupport, hostfs.ErrTooLarge: proto.CauseTooLarge,
	} {
		if got := root("/").unavailable("x", &os.PathError{Op: "read", Path: "/x", Err: err}); got.Cause != want || got.Reason == "" {
			t.Errorf("%v: %v, want %s", err, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for _, tc := range []struct {
		in    string
		limit int
		want  string
	}{
		{" QEMU \n", 20, "QEMU"},
		{"a\tb\x00\x00", 20, "a b"},
		{"a\x00b", 20, "a\ufffdb"},
		{"\x1b[31mred", 20, "\ufffd[31mred"},
		{"bad \xff\xfe utf-8", 20, "bad \ufffd utf-8"},
		{"0123456789", 10, "0123456789"},
		{"0123456789a", 10, "0123456..."},
		{"ééééééé", 10, "ééé..."},
		{strings.Repeat("\u4e2d", 50000), 10, "\u4e2d\u4e2d..."},
		{"", 10, ""},
	} {
		got := clean([]byte(tc.in), tc.limit)
		if got != tc.want || len(got) > tc.limit || !utf8.ValidString(got) {
			t.Errorf("clean(%.20q, %d) = %q, want %q", tc.in, tc.limit, got, tc.want)
		}
	}
}
