package eventlog

// Limits on a log before and while it is read. They are far above what machines write (the largest log seen has 120
// KiB, the one with the most events fewer than 1,000) and keep the memory for one log under 1 MiB beside the input
// itself.
const (
	// MaxSize is the largest log in bytes.
	MaxSize = 4 << 20
	// MaxEvents is the most events in a log.
	MaxEvents = 8192
	// MaxAlgorithms is the most digest algorithms that a Spec ID header may declare.
	MaxAlgorithms = 16
)

// Limits on what Describe decodes and prints.
const (
	maxText         = 4096     // bytes of one printed text; kernel command lines reach 4 KiB
	maxSlot         = 256      // bytes of the name in a slot
	maxVariableName = 512      // UTF-16 units of an EFI variable's name
	maxNodes        = 64       // nodes of a device path
	maxCertificates = 64       // certificates parsed of one signature database
	maxCertificate  = 16 << 10 // bytes of a certificate that is parsed
	maxListed       = 1024     // hashes, partitions, tables or items listed of one event
	maxLists        = 4096     // EFI_SIGNATURE_LISTs of one database
	maxHex          = 64       // bytes printed of data that has no known form
	maxTagDepth     = 4        // nesting of Windows' tagged events
	maxTags         = 4096     // tagged events in one event, all levels together
)
