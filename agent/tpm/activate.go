package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Activate recovers the secret that only a TPM with both the endorsement key and the AK can (TPM2_ActivateCredential;
// Part 3, section 12.5). credential and secret are the contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
func (t *TPM) Activate(credential, secret []byte) ([]byte, error) {
	var out []byte
	err := t.with(func() error {
		handle := t.ek.persistent
		if handle == 0 {
			rsp, err := t.createEndorsement(t.ek.profile.Name, t.ek.template)
			if err != nil {
				return err
			}
			handle = rsp.ObjectHandle
			defer func() { _, _ = tpm2.FlushContext{FlushHandle: handle}.Execute(t.dev) }()
			if string(rsp.Name.Buffer) != string(t.ek.name.Buffer) {
				return fmt.Errorf("activate credential: %w: restart the agent, which then is a new device", ErrChanged)
			}
			if err := t.load([]*key{&t.ak}); err != nil { // making room may have flushed it
				return err
			}
		}
		rsp, err := tpm2.ActivateCredential{
			ActivateHandle: t.ak.auth(),
			KeyHandle:      tpm2.AuthHandle{Handle: handle, Name: t.ek.name, Auth: t.endorsementAuth()},
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: credential},
			Secret:         tpm2.TPM2BEncryptedSecret{Buffer: secret},
		}.Execute(t.dev)
		switch {
		case errors.Is(err, tpm2.TPMRCIntegrity), errors.Is(err, tpm2.TPMRCValue), errors.Is(err, tpm2.TPMRCSize):
			return fmt.Errorf("activate credential: it was not made for this TPM's endorsement key and AK: %w", err)
		case err != nil:
			return explain("activate credential", err)
		}
		out = rsp.CertInfo.Buffer
		return nil
	}, &t.ak)
	return out, err
}

// endorsementAuth authorises the use of the endorsement key as its template says: by its empty password or by a policy
// session that has the endorsement hierarchy's secret (policy A; EK Credential Profile 2.5, section B.6.2).
func (t *TPM) endorsementAuth() tpm2.Session {
	if t.ek.profile.Password {
		return tpm2.PasswordAuth(nil)
	}
	return tpm2.Policy(tpm2.TPMAlgSHA256, 16, tpm2.PolicyCallback(
		func(_ transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
			_, err := tpm2.PolicySecret{
				AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
				PolicySession: session,
				NonceTPM:      nonce,
			}.Execute(t.dev)
			return err
		}))
}
