package collect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/probity-attest/probity/proto"
)

// securityfs is where the kernel's security modules and TPM driver show their logs.
const securityfs = "sys/kernel/security"

// Errors of reading beside those of package fs.
var (
	errTooLarge   = errors.New("too large")
	errNotRegular = errors.New("not a regular file")
)

// root is a directory that stands for "/". Names below it are relative and use slashes.
type root string

// show returns the full path of a name, for messages.
func (r root) show(name string) string { return filepath.Join(string(r), name) }

// resolve returns the full path of name without symbolic links, of which absolute ones begin again at r: in a container
// they would otherwise lead out of the host's tree. It fails with an error of package fs.
func (r root) resolve(name string) (string, error) {
	at, rest := "", strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at = path.Dir(at); at == "." || at == "/" {
				at = ""
			}
			continue
		}
		next := path.Join(at, part)
		target, err := os.Readlink(r.show(next))
		if err != nil {
			if !errors.Is(err, syscall.EINVAL) { // EINVAL: exists and is no link
				return "", err
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: r.show(name), Err: syscall.ELOOP}
		}
		if path.IsAbs(target) {
			at = ""
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return r.show(at), nil
}

// open opens a regular file for reading. Anything else is refused before it is opened, since opening alone can block
// (named pipes) or act (a watchdog).
func (r root) open(name string) (*os.File, error) {
	full, err := r.resolve(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(full)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w (%s)", full, errNotRegular, info.Mode().Type())
	}
	// O_NONBLOCK: should another file take its place meanwhile, opening still does not block.
	f, err := os.OpenFile(full, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w (%s)", full, errNotRegular, info.Mode().Type())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// read returns the content of a regular file of at most limit bytes. Sizes that the kernel states are not believed: those
// of proc and securityfs are 0.
func (r root) read(name string, limit int64) ([]byte, error) {
	f, err := r.open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: %w: over %d bytes", r.show(name), errTooLarge, limit)
	}
	return b, nil
}

// names returns at most limit names in a directory.
func (r root) names(name string, limit int) ([]string, error) {
	full, err := r.resolve(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(full)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: full, Err: syscall.ENOTDIR}
	}
	f, err := os.Open(full)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(limit)
	if errors.Is(err, io.EOF) { // an empty directory
		err = nil
	}
	return names, errors.Join(err, f.Close())
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// unavailable says why a name could not be read.
func (r root) unavailable(name string, err error) *proto.Unavailable {
	switch {
	case isMissing(err):
		return unavailable(proto.CauseNotFound, "%s does not exist", r.show(name))
	case errors.Is(err, fs.ErrPermission):
		return unavailable(proto.CausePermission, "%v: run the agent as root or with CAP_DAC_READ_SEARCH", err)
	case errors.Is(err, errTooLarge):
		return unavailable(proto.CauseTooLarge, "%v", err)
	case errors.Is(err, errNotRegular):
		return unavailable(proto.CauseMalformed, "%v", err)
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.EOPNOTSUPP):
		return unavailable(proto.CauseNoSupport, "%v", err)
	}
	return unavailable(proto.CauseIO, "%v", err)
}

// notInSecurityfs says why a name in securityfs does not exist: because securityfs is not there, or because of why.
func (c *Collector) notInSecurityfs(name, why string) *proto.Unavailable {
	entries, err := c.root.names(securityfs, 1)
	switch {
	case err != nil && !isMissing(err):
		return c.root.unavailable(securityfs, err)
	case len(entries) == 0:
		dir := c.root.show(securityfs)
		return unavailable(proto.CauseNotFound, "securityfs is not mounted: mount -t securityfs securityfs %s "+
			"(in a container, let it see the host's)", dir)
	}
	return unavailable(proto.CauseNotFound, "%s does not exist: %s", c.root.show(name), why)
}

func unavailable(cause proto.Cause, format string, args ...any) *proto.Unavailable {
	return &proto.Unavailable{Cause: cause, Reason: clean(fmt.Appendf(nil, format, args...), proto.MaxReason)}
}
