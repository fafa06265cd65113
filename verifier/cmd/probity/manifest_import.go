package main

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/manifest/tcgrim"
	"github.com/probity-attest/probity/firmware/shipment"
)

func (a *app) manifestImportCommand() *cobra.Command {
	n := &creation{}
	var rim string
	var logs, signers []string
	c := &cobra.Command{
		Use: "import --tcg-rim RIM --signer CERT --log LOG -O FILE", Short: "Make a manifest of a TCG RIM bundle", Args: need(),
		Long: `Make a manifest of a Reference Integrity Manifest bundle, as makers of PCs and servers publish them: a signed SWID tag
(*.swidtag) and boot event logs (*.rimel) whose digests stand in it. The tag's signature is verified with the certificates
of --signer, and nothing else that it may hold. The manifest is signed by whoever imports it: see probity manifest sign.

Vendor, model and version come from the tag; --vendor, --model and --version replace them where devices report others.`,
		Example: `  probity manifest import --tcg-rim Acme.swidtag --signer acme-rim.pem --log Acme.rimel --svn 3 -O r7.corim`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rim == "" || len(signers) == 0 || len(logs) == 0 || n.out == "" {
				return usagef(cmd, "want --tcg-rim, --signer, --log and -O")
			}
			return a.importRIM(cmd, n, rim, signers, logs)
		},
	}
	n.flags(c)
	c.Flags().StringVar(&rim, "tcg-rim", "", "base RIM `FILE`: a signed SWID tag")
	c.Flags().StringArrayVar(&logs, "log", nil, "support RIM `FILE`: a boot event log that the base RIM names")
	c.Flags().StringArrayVar(&signers, "signer", nil, "certificate `FILE` (PEM) of who may have signed the base RIM")
	return c
}

func (a *app) importRIM(cmd *cobra.Command, n *creation, name string, signers, logs []string) error {
	var certificates []*x509.Certificate
	for _, file := range signers {
		cert, err := a.readCertificate(file)
		if err != nil {
			return fmt.Errorf("--signer: %w", err)
		}
		certificates = append(certificates, cert)
	}
	tag, err := a.readFile(name, manifest.MaxSize)
	if err != nil {
		return fmt.Errorf("--tcg-rim: %w", err)
	}
	rim, err := tcgrim.Open(tag, certificates, time.Now())
	if errors.Is(err, tcgrim.ErrSignature) {
		return fmt.Errorf("%s: %w\nwho signed it? --signer takes the certificate itself, not one of an authority above it", shownName(name), err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", shownName(name), err)
	}
	m, err := rim.Manifest(rim.TagID)
	if err != nil {
		return fmt.Errorf("%s: %w", shownName(name), err)
	}
	about := &n.about
	about.Vendor, about.Model, about.Version = cmp.Or(about.Vendor, m.Vendor), cmp.Or(about.Model, m.Model), cmp.Or(about.Version, m.Version)
	if err := n.complete(cmd); err != nil {
		return err
	}
	in := shipment.Input{About: n.about}
	for _, file := range logs {
		b, err := a.readFile(file, eventlog.MaxSize)
		if err != nil {
			return fmt.Errorf("--log: %w", err)
		}
		if err := supportRIM(rim, file, b); err != nil {
			return err
		}
		in.Logs = append(in.Logs, shipment.Log{Name: filepath.Base(file), Content: b})
	}
	return a.buildManifest(cmd.Context(), n, in)
}

// supportRIM checks that the base RIM means this log.
func supportRIM(rim *tcgrim.RIM, name string, content []byte) error {
	files := rim.EventLogs()
	var last error
	for i := range files {
		if last = files[i].Verify(content); last == nil {
			return nil
		}
	}
	if last == nil {
		return errors.New("the base RIM names no event log (*.rimel)")
	}
	return fmt.Errorf("%s: it is none of the %d event logs that the base RIM means; of the last: %w", shownName(name), len(files), last)
}

func (a *app) readCertificate(name string) (*x509.Certificate, error) {
	b, err := a.readFile(name, maxKeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != pemCertificate {
		return nil, fmt.Errorf("%s: want a PEM file with a %s", shownName(name), pemCertificate)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shownName(name), err)
	}
	return cert, nil
}
