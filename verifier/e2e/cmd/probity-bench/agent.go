package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/probity-attest/probity/agent"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
)

// agentAttest: the agent's whole report (collect, quote, read PCRs, encode) against a bare TPM2_Quote on the same swtpm.
func agentAttest(ctx context.Context, testdata string) (_ *bench, err error) {
	dir, err := os.MkdirTemp("", "probity-bench-")
	if err != nil {
		return nil, err
	}
	var closers []func() error
	closeAll := func() {
		for i := len(closers) - 1; i >= 0; i-- {
			_ = closers[i]()
		}
		_ = os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	var machine virtual.Machine
	if machine.Booted, err = os.ReadFile(filepath.Join(testdata, "eventlogs", "grub-secure-boot.bin")); err != nil {
		return nil, err
	}
	if machine.IMA, err = os.ReadFile(filepath.Join(testdata, "ima", "grub-secure-boot.bin")); err != nil {
		return nil, err
	}
	device, err := virtual.Start(ctx, dir, nil, machine)
	if err != nil {
		return nil, err
	}
	closers = append(closers, device.Stop)
	cfg := agent.Default()
	cfg.TPM, cfg.Root, cfg.StateDir = device.TPM.Socket, device.Root, device.StateDir()
	a, err := agent.Open(cfg, "bench", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	closers = append(closers, a.Close)
	t, err := device.TPM.Open()
	if err != nil {
		return nil, err
	}
	closers = append(closers, t.Close)
	quote, flush, err := bareQuote(t)
	if err != nil {
		return nil, err
	}
	closers = append(closers, flush)
	policy := appraise.DefaultPolicy()
	c := &proto.Challenge{Nonce: make([]byte, proto.NonceSize), Banks: []uint16{0xb}, PCRs: uint32(policy.PCRs), Lifetime: 300}
	return &bench{
		name: "agent-attest", reference: "bare TPM2_Quote on the same swtpm", theirs: quote, close: closeAll,
		ours: func() error { _, err := a.Report(ctx, c); return err },
	}, nil
}

// bareQuote makes a key and returns a function that quotes PCRs 0 to 15 with it.
func bareQuote(t transport.TPM) (quote func() error, flush func() error, err error) {
	key, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement,
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{
				FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true,
			},
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
				CurveID: tpm2.TPMECCNistP256,
				Scheme: tpm2.TPMTECCScheme{
					Scheme:  tpm2.TPMAlgECDSA,
					Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
				},
			}),
		}),
	}.Execute(t)
	if err != nil {
		return nil, nil, fmt.Errorf("bare quote: %w", err)
	}
	command := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: make([]byte, 32)},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
			{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0xff, 0xff, 0}},
		}},
	}
	quote = func() error {
		for {
			// A TPM that is still testing itself asks to be asked again.
			if _, err := command.Execute(t); !errors.Is(err, tpm2.TPMRCRetry) {
				return err
			}
		}
	}
	flush = func() error { _, err := tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(t); return err }
	return quote, flush, nil
}
