package guest

// Limits on what is read from the console. Lines of the guest are the longest: few lines make it fast.
const (
	// MaxLine is the longest line in bytes without its end. Longer ones are cut into pieces, which are text.
	MaxLine = 8 << 10
	// MaxFrameData is the most bytes of a message in one frame; a line then has under 5,600 bytes.
	MaxFrameData = 4 << 10
	// MaxMessage is the largest message in bytes. A part of a larger file is read by ReadArgs.Offset and Limit.
	MaxMessage = 24 << 20
	// MaxHeader is the longest JSON object at the start of a message in bytes.
	MaxHeader = 1 << 20
	// MaxOutput is how much a guest keeps of what a program writes to one stream in bytes; the rest is dropped.
	MaxOutput = 4 << 20
)
