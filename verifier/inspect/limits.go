package inspect

// Limits on what one explanation tells: devices choose how much they measure.
const (
	// maxEvents is the most boot events that Boot tells of one PCR.
	maxEvents = 2000
	// maxDigests is the most digests that Files tells of one file.
	maxDigests = 16
	// maxText is the longest text of an event, in bytes.
	maxText = 600
	// maxLines is the most differences that Diff tells of one part.
	maxLines = 500
	// maxTogether is the most measurements of one slot that Diff compares as one.
	maxTogether = 4
	// maxWhy is the most findings that a point of a timeline names.
	maxWhy = 3
)
