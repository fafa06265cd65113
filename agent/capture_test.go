package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/agent/link"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

var _ link.Capturer = (*reporter)(nil)

func writeCharter(t *testing.T, cfg *Config, content string) {
	t.Helper()
	cfg.Charter = filepath.Join(t.TempDir(), "charter.yaml")
	if err := os.WriteFile(cfg.Charter, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func captureRequest(region string) *proto.CaptureRequest {
	return &proto.CaptureRequest{
		Nonce: bytes.Repeat([]byte{9}, proto.NonceSize), Region: region, Banks: []uint16{uint16(pcr.SHA256)},
		PCRs: uint32(pcr.Select(0, 1, 2, 3, 4, 5, 6, 7)),
	}
}

// capture returns what a capture sends: bytes and end.
func capture(t *testing.T, a *Agent, m *proto.CaptureRequest) ([]byte, *proto.CaptureEnd, error) {
	t.Helper()
	if a.flash != nil {
		a.flash.Wait(t.Context(), time.Minute)
	}
	var data []byte
	var end *proto.CaptureEnd
	err := a.report.Capture(t.Context(), m, func(up *proto.CaptureUp) error {
		up.Nonce = m.Nonce
		if _, err := proto.Encode(up); err != nil {
			return err
		}
		if up.Piece != nil {
			data = append(data, up.Piece.Data...)
		}
		end = up.End
		return nil
	})
	return data, end, err
}

// TestCaptureNeedsTheCharter: without the owner's word no raw byte leaves, whoever asks.
func TestCaptureNeedsTheCharter(t *testing.T) {
	for name, tt := range map[string]struct {
		charter string // "": none
		allowed bool
	}{
		"no charter":     {"", false},
		"digests only":   {"allow: [flash, boot-log, ima, platform, tamper]", false},
		"another region": {"allow: [flash, flash-content.bios]", false},
		"a prefix":       {"allow: [flash, flash-content.mode]", false},
		"this region":    {"allow: [flash, flash-content.modem]", true},
		"all regions":    {"allow: [flash, flash-content]", true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			cfg := softwareConfig(t, m)
			image := withLayout(t, m, &cfg)
			if tt.charter != "" {
				writeCharter(t, &cfg, tt.charter)
			}
			a := open(t, cfg)
			data, end, err := capture(t, a, captureRequest("modem"))
			if tt.allowed {
				if err != nil || !bytes.Equal(data, image) || end == nil {
					t.Fatalf("%d bytes, %v, want the image of %d", len(data), err, len(image))
				}
				return
			}
			var un *proto.Unavailable
			if !errors.As(err, &un) || un.Cause != proto.CauseNotAllowed || len(data) > 0 || end != nil {
				t.Errorf("%d bytes, end %v, %v, want a refusal", len(data), end, err)
			}
		})
	}
}

// TestCaptureIsSigned: the TPM signs nonce, region and digest.
func TestCaptureIsSigned(t *testing.T) {
	m := newMachine(t)
	s := tpmtest.Start(t, tpmtest.Options{})
	cfg := Default()
	cfg.TPM, cfg.Root, cfg.StateDir = s.Socket, m.root, t.TempDir()
	image := withLayout(t, m, &cfg)
	writeCharter(t, &cfg, "allow: [flash, flash-content]")
	a := open(t, cfg)
	q := captureRequest("modem")
	q.Offset, q.Length = 6, 12
	data, end, err := capture(t, a, q)
	if err != nil || string(data) != "modem modem " {
		t.Fatalf("capture = %q, %v, want a part of %d bytes", data, err, len(image))
	}
	var statement proto.CaptureStatement
	if err := proto.Decode(end.Statement, &statement); err != nil {
		t.Fatal(err)
	}
	if statement.Region != "modem" || statement.Offset != 6 || statement.Size != 12 || statement.Digest != sha256.Sum256(data) ||
		!bytes.Equal(statement.BootID, bootID) || statement.Source != "file:/lib/firmware/modem.bin" {
		t.Errorf("statement = %+v", statement)
	}
	attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](end.Quote)
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CaptureQualifyingData(q.Nonce, end.Statement)
	if !bytes.Equal(attest.ExtraData.Buffer, want[:]) {
		t.Errorf("qualifying data = %x, want %x", attest.ExtraData.Buffer, want)
	}
	if len(end.Signature) == 0 {
		t.Error("no signature")
	}
}

func TestCaptureWithoutTPM(t *testing.T) {
	m := newMachine(t)
	cfg := softwareConfig(t, m)
	withLayout(t, m, &cfg)
	writeCharter(t, &cfg, "allow: [flash, flash-content]")
	a := open(t, cfg)
	q := captureRequest("modem")
	_, end, err := capture(t, a, q)
	if err != nil {
		t.Fatal(err)
	}
	digest := proto.SoftwareMessage(proto.CaptureQualifyingData(q.Nonce, end.Statement))
	if len(end.Quote) > 0 || !ecdsa.VerifyASN1(&a.report.key.key.PublicKey, digest[:], end.Signature) {
		t.Error("signature does not verify")
	}
	_, _, err = capture(t, a, captureRequest("bios")) // in the layout, not on this machine
	var un *proto.Unavailable
	if !errors.As(err, &un) || un.Cause != proto.CauseNotFound {
		t.Errorf("capture of what is not there = %v, want %s", err, proto.CauseNotFound)
	}

	cfg.Flash.Mode, cfg.Flash.Layout = FlashOff, ""
	_, _, err = capture(t, open(t, cfg), q)
	if !errors.As(err, &un) || un.Cause != proto.CauseNoSupport {
		t.Errorf("capture of an agent that reads no flash = %v, want %s", err, proto.CauseNoSupport)
	}
}

// TestShowTellsWhatMayLeave: the owner sees for each region whether its bytes may leave.
func TestShowTellsWhatMayLeave(t *testing.T) {
	m := newMachine(t)
	cfg := softwareConfig(t, m)
	withLayout(t, m, &cfg)
	writeCharter(t, &cfg, "allow: [flash, flash-content.modem]")
	shown, err := open(t, cfg).Show(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := shown.Flash.Regions; len(r) != 2 || r[0].Content || !r[1].Content {
		t.Errorf("regions = %+v, want the content of modem alone to be free", r)
	}
	var b strings.Builder
	if err := shown.Write(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "raw bytes may leave"); n != 1 || !strings.Contains(b.String(), "flash-content.modem") {
		t.Errorf("show says %d times that raw bytes may leave, want once:\n%s", n, b.String())
	}
}
