package collect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/probity-attest/probity/firmware/hostfs"
	"github.com/probity-attest/probity/proto"
)

// securityfs is where the kernel's security modules and TPM driver show their logs.
const securityfs = "sys/kernel/security"

// root is the file system of the machine, of which the collector tells.
type root string

func (r root) files() hostfs.Tree { return hostfs.Tree(r) }

// show returns the full path of a name, for messages.
func (r root) show(name string) string { return r.files().Show(name) }

// open opens a regular file for reading.
func (r root) open(name string) (*os.File, error) { return r.files().Open(name, hostfs.Regular) }

// read returns the content of a regular file of at most limit bytes.
func (r root) read(name string, limit int64) ([]byte, error) { return r.files().Read(name, limit) }

// names returns at most limit names in a directory.
func (r root) names(name string, limit int) ([]string, error) { return r.files().Names(name, limit) }

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
	case errors.Is(err, hostfs.ErrTooLarge):
		return unavailable(proto.CauseTooLarge, "%v", err)
	case errors.Is(err, hostfs.ErrNotRegular):
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
