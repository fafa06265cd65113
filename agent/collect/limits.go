package collect

// Limits on what is read beside those of package proto. Real files stay far below them.
const (
	// maxText is the largest text file: a kernel command line, an os-release.
	maxText = 16 << 10
	// maxLinks is how many symbolic links one name may lead through, as in Linux (path_resolution(7)).
	maxLinks = 40
	// maxResources is how many entries of the EFI System Resource Table are reported: proto.Platform's limit.
	maxResources = 64
	// maxCommandLine is the longest kernel command line in bytes: proto.Platform's limit.
	maxCommandLine = 4096
	// readSize is how much of the IMA list is in memory at once, in bytes, unless one entry is larger.
	readSize = 32 << 10
)
