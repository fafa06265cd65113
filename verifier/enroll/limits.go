package enroll

import "unicode/utf8"

// Limits on what devices and operators can make this package hold or do. Those of messages are in package proto.
const (
	// maxRootFiles and maxRootFile bound the folder of TPM makers' certificates: files, and bytes of each.
	maxRootFiles = 2048
	maxRootFile  = 4 << 20
	// maxQuiet is how many recently reported devices are remembered.
	maxQuiet = 4096
	// maxConflicts is how often a record is read again that another writer changed meanwhile.
	maxConflicts = 8
	// maxToken is the longest token in bytes.
	maxToken = 160
	// maxDetail is the longest text that comes from a device, as it is repeated in messages, events and records, in
	// bytes.
	maxDetail = 200
)

// clip shortens a text of a device at a character's boundary.
func clip(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	n := maxDetail
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
