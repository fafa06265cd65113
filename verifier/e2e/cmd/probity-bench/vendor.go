package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
)

// flashHash: a flash of 16 MiB with excluded ranges, against bare SHA-256 of as many bytes.
func flashHash(context.Context, string) (*bench, error) {
	const size = 16 << 20
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		return nil, err
	}
	region := flash.Region{Name: "bios", Exclude: []flash.Range{{Offset: 0x1000, Length: 0x1000}, {Offset: 0x800000, Length: 6}}}
	return &bench{
		name: "flash-hash-16MiB", reference: "bare SHA-256 of as many bytes",
		ours: func() error {
			_, err := flash.HashImage(bytes.NewReader(content), size, region)
			return err
		},
		theirs: func() error { sha256.Sum256(content); return nil },
	}, nil
}

// files is how many files the manifests here have.
const files = 100_000

// longManifest is a manifest with many files and some boot events.
func longManifest() *manifest.Manifest {
	m := &manifest.Manifest{ID: "bench/1", Vendor: "Bench", Model: "Bench", Version: "1", SVN: 1}
	sum := func(i int) manifest.Digest {
		d := sha256.Sum256(fmt.Appendf(nil, "file %d", i))
		return manifest.Digest{Algorithm: pcr.SHA256, Value: d[:]}
	}
	for i := range files {
		m.Files = append(m.Files, manifest.File{Path: fmt.Sprintf("/usr/lib/x86_64-linux-gnu/package-%d/lib%d.so.%d", i/90, i, i%9), Digest: sum(i)})
	}
	manifest.SortFiles(m.Files)
	for i := range 15 {
		m.PCRs = append(m.PCRs, manifest.PCR{Index: i, Events: []manifest.Event{
			{Slot: "EV_SEPARATOR", Digests: manifest.Digests{sum(-i - 1)}, Required: true},
		}})
	}
	return m
}

// vendor is a long manifest in all its forms.
type vendor struct {
	manifest *manifest.Manifest
	unsigned []byte
	signed   []byte
	key      *ecdsa.PrivateKey
	sig      []byte // of the unsigned form's digest
}

func newVendor() (v *vendor, err error) {
	v = &vendor{manifest: longManifest()}
	if v.unsigned, err = manifest.Encode(v.manifest); err != nil {
		return nil, err
	}
	if v.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if v.signed, err = v.sign(); err != nil {
		return nil, err
	}
	v.sig, err = v.bareSign()
	return v, err
}

func (v *vendor) sign() ([]byte, error) {
	return manifest.Sign(v.unsigned, v.key, manifest.Meta{Issuer: "Bench"})
}

func (v *vendor) bareSign() ([]byte, error) {
	d := sha256.Sum256(v.unsigned)
	return ecdsa.SignASN1(rand.Reader, v.key, d[:])
}

func manifestCreate(context.Context, string) (*bench, error) {
	v, err := newVendor()
	if err != nil {
		return nil, err
	}
	return &bench{
		name: "manifest-create-100k", unit: files, reference: "bare SHA-256 of the document",
		ours:   func() error { _, err := manifest.Encode(v.manifest); return err },
		theirs: func() error { sha256.Sum256(v.unsigned); return nil },
	}, nil
}

func manifestSign(context.Context, string) (*bench, error) {
	v, err := newVendor()
	if err != nil {
		return nil, err
	}
	return &bench{
		name: "manifest-sign-100k", unit: files, reference: "bare SHA-256 and ecdsa.Sign P-256 of the document",
		ours:   func() error { _, err := v.sign(); return err },
		theirs: func() error { _, err := v.bareSign(); return err },
	}, nil
}

func manifestVerify(context.Context, string) (*bench, error) {
	v, err := newVendor()
	if err != nil {
		return nil, err
	}
	trust := manifest.TrustKeys(&v.key.PublicKey)
	return &bench{
		name: "manifest-verify-100k", unit: files, reference: "bare SHA-256 and ecdsa.Verify P-256 of the document",
		ours: func() error { _, _, err := manifest.Open(v.signed, trust, time.Now()); return err },
		theirs: func() error {
			d := sha256.Sum256(v.unsigned)
			if !ecdsa.VerifyASN1(&v.key.PublicKey, d[:], v.sig) {
				return errors.New("does not verify")
			}
			return nil
		},
	}, nil
}

func compile(m *manifest.Manifest) (*reference.Set, error) {
	return reference.Build(reference.Documents{Releases: []reference.Release{{Manifest: m}}})
}

// plainTable is what a verifier would look files up in that did nothing for memory.
func plainTable(m *manifest.Manifest) map[string][]byte {
	out := make(map[string][]byte, len(m.Files))
	for i := range m.Files {
		out[m.Files[i].Path] = m.Files[i].Digest.Value
	}
	return out
}

// manifestCompile: from a manifest to the tables that devices are compared with.
func manifestCompile(context.Context, string) (*bench, error) {
	m := longManifest()
	return &bench{
		name: "manifest-compile-100k", unit: files, reference: "Go map of paths",
		ours: func() error { _, err := compile(m); return err },
		theirs: func() error {
			if len(plainTable(m)) != files {
				return errors.New("files are missing")
			}
			return nil
		},
	}, nil
}

// imaLookup: each file of the manifest looked up as an IMA entry is.
func imaLookup(context.Context, string) (*bench, error) {
	m := longManifest()
	set, err := compile(m)
	if err != nil {
		return nil, err
	}
	compiled := set.For("Bench", "Bench").At(time.Now()).Alternatives()[0]
	table := plainTable(m)
	return &bench{
		name: "ima-lookup", unit: files, reference: "Go map of paths",
		ours: func() error {
			for i := range m.Files {
				if match, _ := compiled.File(m.Files[i].Path, m.Files[i].Digest.Value); match != reference.Same {
					return fmt.Errorf("%s: match %d", m.Files[i].Path, match)
				}
			}
			return nil
		},
		theirs: func() error {
			for i := range m.Files {
				if !bytes.Equal(table[m.Files[i].Path], m.Files[i].Digest.Value) {
					return errors.New(m.Files[i].Path)
				}
			}
			return nil
		},
	}, nil
}

// imageDiff: two firmwares of 4 MiB, one with an implant in a packed volume, against hashing both.
func imageDiff(context.Context, string) (*bench, error) {
	old, err := imagetest.Firmware(imagetest.Config{Size: 4 << 20, Modules: 120, ModuleSize: 32 << 10})
	if err != nil {
		return nil, err
	}
	implant := imagetest.Program(0x8664, 11, []byte("evil"))
	now, err := imagetest.Implant(old, imagetest.DXEVolume, imagetest.ModuleGUID(1000), "Implant", implant)
	if err != nil {
		return nil, err
	}
	return &bench{
		name: "image-diff-4MiB", reference: "bare SHA-256 of both images, still packed",
		ours: func() error {
			a, err := image.Parse(old)
			if err != nil {
				return err
			}
			b, err := image.Parse(now)
			if err != nil {
				return err
			}
			if d := image.Diff(a, b); d.Same() {
				return errors.New("the implant was not found")
			}
			return nil
		},
		theirs: func() error { sha256.Sum256(old); sha256.Sum256(now); return nil },
	}, nil
}
