package predict

import (
	"bytes"
	"errors"
	"testing"

	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/image/pecoff"
)

// seed adds real inputs. An empty seed is a mistake.
func seed(f *testing.F, seeds ...[]byte) {
	for i, s := range seeds {
		if len(s) == 0 {
			f.Fatalf("seed %d is empty", i)
		}
		f.Add(s)
	}
}

func FuzzVariables(f *testing.F) {
	v := func(name, data string) imagetest.Variable {
		return imagetest.Variable{GUID: guidGlobal, Name: name, Data: []byte(data)}
	}
	small := func(variables ...imagetest.Variable) []byte {
		b, err := imagetest.NVRAM(8<<10, variables...)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	database := string(signatureList(guidCertX509, owner, []byte("certificate")))
	seed(f, small(v("PK", "1"), v("Lang", "eng")), small(), erased[:64], small(v("db", database)))
	f.Fuzz(func(t *testing.T, b []byte) {
		vars, err := parseVariables(b)
		if err != nil {
			if vars != nil {
				t.Fatalf("parseVariables() = %v with the error %v", vars, err)
			}
			return
		}
		if len(vars) > len(looked)*len(b) {
			t.Fatalf("%d variables in %d bytes", len(vars), len(b))
		}
		for k, value := range vars {
			if !bytes.Contains(b, value) {
				t.Fatalf("the value of %s is not in the store", k.name)
			}
			list, err := parseDatabase(value)
			if err != nil && list != nil {
				t.Fatalf("parseDatabase() = %v with the error %v", list, err)
			}
			total := 0
			for _, s := range list {
				total += len(s.raw)
			}
			if total > len(value) {
				t.Fatalf("signatures of %d bytes in %d", total, len(value))
			}
		}
	})
}

func FuzzScript(f *testing.F) {
	seed(f, []byte(debianScript), []byte("linux /linux quiet\ninitrd /initrd\nboot\n"), []byte("if [ a = \"$b\" ]; then 'c'; fi # d"))
	f.Fuzz(func(t *testing.T, b []byte) {
		measured, _, err := follow(string(b))
		if len(measured) > 3*maxCommands {
			t.Fatalf("%d measurements", len(measured))
		}
		if errors.Is(err, errBooted) && len(measured) < 3 {
			t.Fatalf("booted after %q", measured)
		}
	})
}

func FuzzGRUB(f *testing.F) {
	image := grubImage64("/EFI/debian", embeddedConfig, fatDisk("GRUB    CFG", debianScript))
	pe, err := pecoff.Parse(image)
	if err != nil {
		f.Fatal(err)
	}
	seed(f, pe.Section("mods").Content(), fatDisk("GRUB    CFG", debianScript))
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := parseGRUB(b); err == nil && len(g.memoryDisk)+len(g.config)+len(g.prefix) > 3*len(b) {
			t.Fatalf("objects of more bytes than the %d of the image", len(b))
		}
		if content, err := readFAT(b, "GRUB    CFG"); err != nil && content != nil || len(content) > MaxScript {
			t.Fatalf("readFAT() = %d bytes, %v", len(content), err)
		}
	})
}

func FuzzPartitions(f *testing.F) {
	disk := make([]byte, 17<<10)
	if _, err := gptDisk(100).ReadAt(disk, 0); err != nil {
		f.Fatal(err)
	}
	seed(f, disk, disk[:600])
	f.Fuzz(func(t *testing.T, b []byte) {
		data, err := readPartitions(bytes.NewReader(b))
		if err != nil != (data == nil) || len(data) > len(b) {
			t.Fatalf("readPartitions() of %d bytes = %d bytes, %v", len(b), len(data), err)
		}
	})
}

func FuzzProgram(f *testing.F) {
	root := newSigner(f, "root", rsaKey(f), nil)
	seed(f, root.signedImage(f, 0x8664, nil, section(".text", []byte("code"))), shimImage(root.cert.Raw, nil, []byte("level")),
		ukiImage("quiet"), kernelImage())
	anchors := []signature{{kind: guidCertX509, raw: append(make([]byte, 16), root.cert.Raw...)}}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := newProgram(File{Content: b})
		if err != nil {
			return
		}
		if keys := p.section(".vendor_cert"); keys != nil {
			if allowed, denied, err := vendorKeys(keys); err == nil && len(denied)+len(allowed) > 2*len(keys)+44 {
				t.Fatalf("keys of %d and %d bytes in %d", len(allowed), len(denied), len(keys))
			}
		}
		if d, err := uBootDigests(b, p.pe); err != nil && d != nil {
			t.Fatalf("uBootDigests() = %x with the error %v", d, err)
		}
		if s, err := p.signatures(); len(s) > maxSignatures || err != nil && s != nil {
			t.Fatalf("signatures() = %d, %v", len(s), err)
		}
		_, _ = findAuthority(p, anchors)
	})
}
