package rootfs

// Limits on what a source may hold. Those on packed data are for all that is read of one source.
const (
	// MaxEntries is the most files, folders and links of a tree.
	MaxEntries = 1 << 20
	// MaxUnpacked is the most bytes that a source unpacks to, and that all files in it have together.
	MaxUnpacked = 64 << 30
	// MaxRatio is how many times its size a source may unpack to, once it unpacks to more than FreeUnpacked bytes.
	// Programs and libraries pack to a third or a fifth.
	MaxRatio     = 200
	FreeUnpacked = 256 << 20
	// MaxPath is the longest path in bytes, MaxDepth the most folders in it.
	MaxPath  = 4096
	MaxDepth = 128
	// MaxLinks is the most symbolic links on the way to a file, as in the kernel.
	MaxLinks = 40
	// MaxWindow is the most bytes that a decompressor keeps to refer back to: xz -9 uses 64 MiB, zstd --ultra 128 MiB.
	MaxWindow = 128 << 20

	maxMembers = 16 // of a Debian package; there are three
	maxSource  = 1 << 40
)

// limits are those that tests make smaller.
type limits struct {
	entries            int
	unpacked, free     int64
	ratio, sourceBytes int64
}

var standard = limits{
	entries: MaxEntries, unpacked: MaxUnpacked, free: FreeUnpacked, ratio: MaxRatio, sourceBytes: maxSource,
}
