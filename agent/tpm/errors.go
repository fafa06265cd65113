package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Errors on which callers branch. Each is wrapped with what was found and what to do about it.
var (
	ErrNoDevice   = errors.New("no TPM")
	ErrPermission = errors.New("no permission to use the TPM")
	ErrBusy       = errors.New("TPM is in use by another program")
	ErrTPM12      = errors.New("TPM is of version 1.2")
	ErrLockout    = errors.New("TPM is in dictionary attack lockout")
	ErrChanged    = errors.New("TPM has another identity than before")
	ErrNoBank     = errors.New("PCR bank is not active")
	ErrUnstable   = errors.New("PCRs kept changing while they were read")
	ErrClosed     = errors.New("TPM was closed")
)

// explain adds to a TPM's response code what a person can do about it.
func explain(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tpm2.TPMRCLockout):
		return fmt.Errorf("%s: %w: wait for the lockout to end or clear it with tpm2_dictionarylockout --clear-lockout: %w",
			op, ErrLockout, err)
	case errors.Is(err, tpm2.TPMRCBadAuth), errors.Is(err, tpm2.TPMRCAuthFail):
		return fmt.Errorf("%s: the endorsement hierarchy has a password: "+
			"clear it with tpm2_changeauth -c endorsement -p PASSWORD: %w", op, err)
	case errors.Is(err, tpm2.TPMRCHierarchy):
		return fmt.Errorf("%s: the endorsement hierarchy is disabled: enable it in the firmware's setup: %w", op, err)
	case errors.Is(err, tpm2.TPMRCInitialize):
		return fmt.Errorf("%s: the TPM was not started: the firmware or kernel must send TPM2_Startup: %w", op, err)
	case errors.Is(err, tpm2.TPMRCFailure):
		return fmt.Errorf("%s: the TPM is in failure mode: power the machine off and on: %w", op, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}
