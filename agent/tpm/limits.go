package tpm

import (
	"time"

	"github.com/probity-attest/probity/proto"
)

// Limits on what a TPM, or what poses as one, can make this package read or wait for.
const (
	// maxResponse is the largest response in bytes (MAX_RESPONSE_SIZE of the reference implementation).
	maxResponse = 4096
	// maxIndex is the most that is read from one NV index, in bytes.
	maxIndex = proto.MaxCertificate
	// maxChain is the most that is read from the NV indices of the certificate chain together, in bytes.
	maxChain = proto.MaxCertificate * proto.MaxCertificates
	// maxHandles is the most handles of one kind that are listed.
	maxHandles = 256
	// maxReads is how often PCRs are read again when they change in between.
	maxReads = 32

	// retryFirst and retryMost bound the pause before a command is repeated that the TPM could not take.
	retryFirst = 2 * time.Millisecond
	retryMost  = 500 * time.Millisecond
	// retryBudget is how long one command is repeated.
	retryBudget = 20 * time.Second
	// probeTime is how long a TPM socket may take for its first answer, commandTime for any: making an RSA key is slow.
	probeTime   = 3 * time.Second
	commandTime = 2 * time.Minute
)
