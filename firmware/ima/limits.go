package ima

// Limits on lists from devices. Kernels stay far below them.
const (
	// MaxEntry is the largest entry in bytes, its head included.
	MaxEntry = maxData + maxTemplateName + 64
	// MaxList is the largest list that ReadList accepts, in bytes: about a million entries.
	MaxList = 128 << 20

	// maxTemplateName holds every built-in name and the custom formats of ima_template_fmt=.
	maxTemplateName = 255
	// maxData holds the largest buffers that kernels measure (ima-buf: policies, keys, device-mapper tables).
	maxData = 4 << 20
	// maxOldName is IMA_EVENT_NAME_LEN_MAX, the longest file name of template "ima".
	maxOldName = 255
	// maxEntries bounds what ReadList makes of a list of tiny entries.
	maxEntries = 1 << 20
	// maxFields is one more than the longest built-in template (evm-sig) has, for custom formats.
	maxFields = 10
	// maxShown is how many bytes of a field a View shows.
	maxShown = 4096
)
