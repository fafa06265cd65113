package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
)

// fakeModule is an ELF object with one section with this content.
func fakeModule(t *testing.T, section, content string) []byte {
	t.Helper()
	names := "\x00" + section + "\x00.shstrtab\x00"
	const header, entry = 64, 64
	table := header + len(content) + len(names)
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(table), Ehsize: header, Shentsize: entry, Shnum: 3, Shstrndx: 2,
	})
	b.WriteString(content + names)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: header, Size: uint64(len(content)), Addralign: 1})
	put(elf.Section64{
		Name: uint32(2 + len(section)), Type: uint32(elf.SHT_STRTAB), Off: uint64(header + len(content)),
		Size: uint64(len(names)), Addralign: 1,
	})
	return b.Bytes()
}

// fakeKernel is a folder of modules, by file name and what they depend on.
func fakeKernel(t *testing.T, depends map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, on := range depends {
		b := fakeModule(t, ".modinfo", "license=GPL\x00depends="+on+"\x00name=x\x00")
		if strings.HasSuffix(name, ".xz") {
			var packed bytes.Buffer
			w, err := xz.NewWriter(&packed)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(b); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			b = packed.Bytes()
		}
		path := filepath.Join(dir, "kernel", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	builtin := "kernel/drivers/spi/spidev.ko\nkernel/drivers/char/tpm/tpm-crb.ko\n"
	if err := os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte(builtin), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestModules(t *testing.T) {
	dir := fakeKernel(t, map[string]string{
		"net/virtio_net.ko": "net_failover,virtio", "net/net_failover.ko": "failover", "net/failover.ko": "",
		"virtio/virtio.ko.xz": "", "mtd/phram.ko": "mtd", "mtd/mtd.ko.xz": "", "spi/spi-nor.ko": "mtd",
	})
	tests := map[string]struct {
		want []Want
		got  []string
	}{
		"nothing":         {nil, nil},
		"dependencies":    {[]Want{{Name: "virtio_net"}}, []string{"failover", "net_failover", "virtio", "virtio_net"}},
		"once":            {[]Want{{Name: "mtd"}, {Name: "phram"}, {Name: "spi_nor"}, {Name: "phram"}}, []string{"mtd", "phram", "spi_nor"}},
		"dashes":          {[]Want{{Name: "spi-nor"}}, []string{"mtd", "spi_nor"}},
		"built in":        {[]Want{{Name: "spidev"}, {Name: "tpm_crb"}, {Name: "mtd"}}, []string{"mtd"}},
		"optional absent": {[]Want{{Name: "fec", Optional: true}, {Name: "mtd", Optional: true}}, []string{"mtd"}},
		"parameters":      {[]Want{{Name: "phram", Params: "phram=a,1,2"}}, []string{"mtd", "phram phram=a,1,2"}},
		"parameters of one that was there": {
			[]Want{{Name: "spi_nor"}, {Name: "mtd", Params: "x=1"}, {Name: "mtd"}}, []string{"mtd x=1", "spi_nor"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			modules, err := Modules(dir, test.want...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range modules {
				got = append(got, strings.TrimSpace(m.Name+" "+m.Params))
				if !bytes.HasPrefix(m.Data, []byte("\x7fELF")) {
					t.Errorf("%s is not unpacked", m.Name)
				}
			}
			if diff := cmp.Diff(test.got, got); diff != "" {
				t.Errorf("Modules(%v) (-want +got):\n%s", test.want, diff)
			}
		})
	}
}

func TestModulesInvalid(t *testing.T) {
	good := map[string]string{"a.ko": "b", "b.ko": "c", "c.ko": ""}
	tests := map[string]struct {
		kernel map[string]string
		want   Want
		text   string
	}{
		"absent":                   {good, Want{Name: "phram"}, "no module phram"},
		"absent with parameters":   {good, Want{Name: "phram", Params: "x=1", Optional: true}, "no module phram"},
		"built in with parameters": {good, Want{Name: "spidev", Params: "bufsiz=1"}, "no parameters"},
		"absent dependency":        {map[string]string{"a.ko": "b"}, Want{Name: "a"}, "a: no module b"},
		"cycle":                    {map[string]string{"a.ko": "b", "b.ko": "a"}, Want{Name: "a"}, "a needs itself"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Modules(fakeKernel(t, test.kernel), test.want)
			wantError(t, "Modules", err, test.text)
			if got != nil {
				t.Errorf("Modules = %v with an error", got)
			}
		})
	}
	_, err := Modules(filepath.Join(t.TempDir(), "none"))
	wantError(t, "Modules of no folder", err, "no such file")
	for name, b := range map[string][]byte{
		"x.ko": []byte("no ELF"), "x.ko.xz": []byte("no xz"), "kernel/x.ko": fakeModule(t, ".text", "depends=\x00"),
	} {
		_, err := Modules(strings.TrimSuffix(write(t, name, b), name), Want{Name: "x"})
		wantError(t, "Modules of a broken "+name, err, "x.ko")
	}
}

// TestRealModules resolves what real machines load, and loads nothing before what it needs.
func TestRealModules(t *testing.T) {
	for set, goarch := range map[debian.Name]string{debian.X86: "amd64", debian.ARM64: "arm64"} {
		t.Run(string(set), func(t *testing.T) {
			s := debian.Need(t, set)
			want, err := BaseModules(goarch)
			if err != nil {
				t.Fatal(err)
			}
			modules, err := Modules(s.Modules, want...)
			if err != nil {
				t.Fatal(err)
			}
			var loaded []string
			for _, m := range modules {
				needs, err := dependencies(m.Data)
				if err != nil {
					t.Fatalf("%s: %v", m.Name, err)
				}
				for _, n := range needs {
					if !slices.Contains(loaded, n) {
						t.Errorf("%s stands before %s, which it needs", m.Name, n)
					}
				}
				loaded = append(loaded, m.Name)
			}
			for _, name := range []string{"virtio_net", "efivarfs"} {
				if !slices.Contains(loaded, name) {
					t.Errorf("modules %v, want %s among them", loaded, name)
				}
			}
		})
	}
}

func TestBaseModules(t *testing.T) {
	want, err := BaseModules("arm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"spi_nor", "spi_aspeed_smc", "spi_imx", "spidev", "gpio_aspeed", "gpio_mxc", "ftgmac100", "fec", "i2c_dev", "lm75", "at24"} {
		if !slices.Contains(want, Want{Name: name, Optional: true}) {
			t.Errorf("BaseModules(arm) = %v, want %s among them", want, name)
		}
	}
	_, err = BaseModules("mips")
	wantError(t, "BaseModules(mips)", err, "mips")
}

func TestParameters(t *testing.T) {
	for got, want := range map[string]string{
		Phram("ovmfcode", 0x37c000).Params: "phram=ovmfcode,0xffc84000,0x37c000",
		Mtdram(1024).Params:                "total_size=1024 erase_size=64",
		I2CStub(0x48)[1].Params:            "chip_addr=0x48",
	} {
		if got != want {
			t.Errorf("parameters %q, want %q", got, want)
		}
	}
}
