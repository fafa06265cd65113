package predict

// Limits on what a prediction is made from. Firmware and variables have in addition the limits of package image,
// programs those of package pecoff.
const (
	// MaxProgram is the largest EFI program, kernel or initial RAM disk in bytes.
	MaxProgram = 1 << 30
	// MaxBootLoaders is the most programs before the kernel.
	MaxBootLoaders = 8
	// MaxCmdline is the longest kernel command line in bytes, and the longest load options that are predicted.
	MaxCmdline = 64 << 10
	// MaxPath is the longest path of a file in bytes.
	MaxPath = 1024
	// MaxDatabase is the largest Secure Boot database in bytes.
	MaxDatabase = 1 << 20
	// MaxPartitions is the most entries of a partition table. Tables have 128.
	MaxPartitions = 4096
)

// Limits inside programs.
const (
	maxSignatures   = 16       // of one program
	maxSignature    = 64 << 10 // bytes
	maxCertificates = 32       // in one signature
	maxKey          = 8192     // bits of an RSA key
	maxChain        = 8        // certificates from a signer to its anchor
	maxObjects      = 4096     // in a GRUB image: modules, configuration, memory disk
	maxMemoryDisk   = 16 << 20 // bytes of GRUB's memory disk
)

// Limits on a GRUB configuration and on following it.
const (
	// MaxScript is the longest GRUB configuration in bytes.
	MaxScript = 256 << 10
	// maxCommands is the most commands that are followed, in all configurations together.
	maxCommands = 2000
	// maxNesting is how deep conditions and sourced files nest.
	maxNesting = 16
	// maxCondition is the most words of a condition.
	maxCondition = 64
	// maxWord is the longest word after its variables were replaced, in bytes.
	maxWord = 16 << 10
	// maxCommandBytes is the most bytes of commands that are measured, in all.
	maxCommandBytes = 2 << 20
)
