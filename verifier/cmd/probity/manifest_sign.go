package main

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/manifest"
)

func (a *app) manifestSignCommand() *cobra.Command {
	var key, out string
	var meta manifest.Meta
	var from, until moment
	c := &cobra.Command{
		Use: "sign --key KEY FILE", Short: "Sign a manifest", Args: need("FILE"),
		Long: `Sign a manifest with COSE_Sign1. KEY is a PKCS#8 file in PEM (probity key generate makes one; OpenSSL does too) of type
Ed25519, P-256 or P-384, or the PKCS#11 URI of a key in a token, if this probity was built for that.

A manifest that is signed already is signed anew, in a file of its own: that is how a lab or a builder endorses what a
vendor has published. Compare it first: the signature that it has is not verified here.`,
		Example: `  probity manifest sign --key acme.pem r7.corim
  probity manifest sign --key lab.pem --issuer https://lab.example r7.signed.corim -O r7.lab.corim
  probity manifest sign --key 'pkcs11:token=release;object=acme?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=pin.txt' r7.corim`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usagef(cmd, "--key is missing: which key signs?")
			}
			meta.NotBefore, meta.NotAfter = from.Time, until.Time
			return a.signManifest(args[0], key, out, meta)
		},
	}
	c.Flags().StringVar(&key, "key", "", "private key: `FILE` or PKCS#11 URI")
	c.Flags().StringVar(&meta.Issuer, "issuer", "", "who signs: a `NAME` or URI (default: the manifest's vendor)")
	c.Flags().Var(&from, "valid-from", "first `TIME` at which the signature counts, such as 2026-12-31")
	c.Flags().Var(&until, "valid-until", "`TIME` from which on it no longer counts")
	c.Flags().StringVarP(&out, "out", "O", "", "`FILE` to write (default: the name with .signed before its extension)")
	return c
}

func (a *app) signManifest(name, key, out string, meta manifest.Meta) error {
	d, err := a.readManifest(name)
	if err != nil {
		return err
	}
	if meta.Issuer == "" {
		meta.Issuer = d.manifest.Vendor
	}
	if meta.Issuer == "" {
		return errors.New("--issuer is missing: this deny-list names no vendor, so say who signs")
	}
	if out == "" {
		out = signedName(name)
	}
	signer, release, err := a.openKey(key)
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	defer release()
	b, err := manifest.Sign(d.unsigned, signer, meta)
	if err != nil {
		return fmt.Errorf("%s: %w", shownName(name), err)
	}
	if err := a.writeOut(out, b, 0o644); err != nil {
		return err
	}
	id, err := manifest.KeyID(signer.Public())
	if err != nil {
		return err
	}
	where := out
	if out == "-" {
		where = "standard output"
	}
	a.say("signed %q for %q with key %x: %s, %d bytes", d.manifest.ID, meta.Issuer, id[:shortDigest/2], where, len(b))
	return nil
}

// signedName returns the name of the signed form of a file: r7.signed.corim for r7.corim.
func signedName(name string) string {
	if name == "-" {
		return "-"
	}
	return strings.TrimSuffix(strings.TrimSuffix(name, ".corim"), ".signed") + ".signed.corim"
}

func (a *app) manifestVerifyCommand() *cobra.Command {
	var trust []string
	var at moment
	c := &cobra.Command{
		Use: "verify --trust KEY FILE", Short: "Verify a manifest's signature and validity", Args: need("FILE"),
		Long: `Verify a signed manifest: its form, that one of the trusted keys has signed it, and that signature and manifest are in force.
KEY is a public key or a certificate in PEM; of a certificate only the key counts. Whether the signer may speak for vendor
and model is not asked here: a verifier does that. The exit code is 0 if the manifest is good, else 1.`,
		Example: `  probity manifest verify --trust acme.pub r7.signed.corim
  probity manifest verify --trust acme.pub --trust lab.pub --at 2027-01-01 -o json r7.lab.corim`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(trust) == 0 {
				return usagef(cmd, "--trust is missing: whose signature counts?")
			}
			if at.IsZero() {
				at.Time = time.Now()
			}
			return a.verifyManifest(args[0], trust, at.Time)
		},
	}
	c.Flags().StringArrayVar(&trust, "trust", nil, "public key or certificate `FILE`; may be given several times")
	c.Flags().Var(&at, "at", "`TIME` of validity (default: now)")
	return c
}

func notSigned(name string) error {
	return fmt.Errorf("%s: it is not signed: probity manifest sign does that", shownName(name))
}

func (a *app) verifyManifest(name string, trust []string, now time.Time) error {
	var keys []crypto.PublicKey
	for _, file := range trust {
		key, err := a.readPublicKey(file)
		if err != nil {
			return fmt.Errorf("--trust: %w", err)
		}
		keys = append(keys, key)
	}
	b, err := a.readFile(name, manifest.MaxSize)
	if err != nil {
		return err
	}
	if !signed(b) {
		return notSigned(name)
	}
	m, signature, err := manifest.Open(b, manifest.TrustKeys(keys...), now)
	switch {
	case errors.Is(err, manifest.ErrUntrusted):
		return fmt.Errorf("%s: %w\nnone of the keys of --trust is the signer's", shownName(name), err)
	case errors.Is(err, manifest.ErrSignature):
		return fmt.Errorf("%s: %w\nit was changed after it was signed, or another key signed it", shownName(name), err)
	case err != nil:
		return manifestError(name, err)
	}
	view := struct {
		ID        string         `json:"id"`
		Vendor    string         `json:"vendor,omitempty"`
		Model     string         `json:"model,omitempty"`
		Version   string         `json:"version,omitempty"`
		Advisory  string         `json:"advisory,omitempty"`
		Signature *signatureView `json:"signature"`
		NotBefore *time.Time     `json:"not_before,omitempty"`
		NotAfter  *time.Time     `json:"not_after,omitempty"`
	}{m.ID, m.Vendor, m.Model, m.Version, m.Advisory, viewOfSignature(signature), known(m.NotBefore), known(m.NotAfter)}
	return a.print(view, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "good: %q of %s %s %s, signed by %q with key %s (%s)\nvalid: %s\n", m.ID, safe(m.Vendor), safe(m.Model),
			safe(m.Version+m.Advisory), signature.Issuer, cmpText(clipDigest(hex.EncodeToString(signature.KeyID)), "", "not named"),
			signature.Algorithm, period(m.NotBefore, m.NotAfter))
		return err
	})
}
