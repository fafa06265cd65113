package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
)

func TestOpenRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no TPM":          {func(c *Config) { c.TPM = "/nonexistent/tpmrm0" }, "--identity software"},
		"identity":        {func(c *Config) { c.Identity = "none" }, "want tpm or software"},
		"two tokens":      {func(c *Config) { c.Token, c.TokenFile = "a", "b" }, "one of them"},
		"log format":      {func(c *Config) { c.Log.Format = "xml" }, "text or json"},
		"no state dir":    {func(c *Config) { c.StateDir = "" }, "state-dir"},
		"missing charter": {func(c *Config) { c.Charter = "/nonexistent" }, "/nonexistent"},
		"flash mode":      {func(c *Config) { c.Flash.Mode = "on" }, "want auto, layout or off"},
		"no layout":       {func(c *Config) { c.Flash.Mode = FlashLayout }, "and the mode a file"},
		"idle layout":     {func(c *Config) { c.Flash.Layout = "/x" }, "needs the mode"},
		"missing layout":  {func(c *Config) { c.Flash.Mode, c.Flash.Layout = FlashLayout, "/nonexistent" }, "/nonexistent"},
		"flash rate":      {func(c *Config) { c.Flash.Rate = 4 }, "at least 1KiB a second"},
		"flash interval":  {func(c *Config) { c.Flash.Interval = 0 }, "flash.interval"},
		"flash wait":      {func(c *Config) { c.Flash.Wait = time.Hour }, "want 0s to 4m0s"},
		"negative wait":   {func(c *Config) { c.Flash.Wait = -1 }, "flash.wait"},
		"tamper line":     {func(c *Config) { c.Tamper = []string{"lid=17"} }, "NAME=CHIP:LINE:ACTIVE"},
		"read-only state": {func(c *Config) { c.Identity, c.StateDir = IdentitySoftware, "/proc/nonexistent" }, "writable"},
	} {
		cfg := Default()
		cfg.StateDir = t.TempDir()
		tt.change(&cfg)
		a, err := Open(cfg, "1", slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open = %v, want %q in it", name, err, tt.want)
		}
		if a != nil {
			t.Errorf("%s: Open returned an agent with the error", name)
		}
	}
}

func TestNoTPMIsNeverSoftwareSilently(t *testing.T) {
	cfg := Default()
	cfg.TPM, cfg.StateDir = "/nonexistent", t.TempDir()
	if _, err := Open(cfg, "1", slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("agent without a TPM opened")
	}
	if files, err := os.ReadDir(cfg.StateDir); err != nil || len(files) != 0 {
		t.Errorf("state directory holds %v, %v, want nothing", files, err)
	}
}

func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("pbt1.a.b.c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{TokenFile: file}
	if got, err := cfg.token(); got != "pbt1.a.b.c" || err != nil {
		t.Errorf("token() = %q, %v", got, err)
	}
	cfg.TokenFile += "x"
	if _, err := cfg.token(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("token() of a missing file = %v", err)
	}
}

func TestCertificatesAreKept(t *testing.T) {
	d := stateDir(filepath.Join(t.TempDir(), "state"))
	if chain, err := d.Load(); chain != nil || err != nil {
		t.Errorf("Load of nothing = %v, %v", chain, err)
	}
	want := [][]byte{{1, 2}, {3}}
	for range 2 { // the second replaces the first
		if err := d.Save(want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Load()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Load: %v %s", err, diff)
	}
	files, err := os.ReadDir(string(d))
	if err != nil || len(files) != 1 {
		t.Errorf("state directory holds %v, %v, want the certificate only", files, err)
	}
	if err := os.WriteFile(d.path(certificateFile), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(); err == nil {
		t.Error("Load of junk succeeded")
	}
}

func TestSoftwareKey(t *testing.T) {
	d := stateDir(filepath.Join(t.TempDir(), "state"))
	var wg sync.WaitGroup
	keys := make([][]byte, 8)
	for i := range keys { // agents that start at once become one device
		wg.Go(func() {
			k, err := d.softwareKey()
			if err != nil {
				t.Error(err)
				return
			}
			keys[i], _ = k.PublicKey.Bytes()
		})
	}
	wg.Wait()
	for _, k := range keys {
		if !bytes.Equal(k, keys[0]) {
			t.Fatal("two agents that start at once have different keys")
		}
	}
	info, err := os.Stat(d.path(keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", info.Mode(), err)
	}
	if err := os.Chmod(d.path(keyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.softwareKey(); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Errorf("readable key: %v, want advice", err)
	}
	if err := errors.Join(os.Chmod(d.path(keyFile), 0o600), os.WriteFile(d.path(keyFile), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.softwareKey(); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("damaged key: %v, want an error: a device must not change its identity silently", err)
	}
}

func TestShow(t *testing.T) {
	m := newMachine(t)
	m.write("sys/class/dmi/id/product_name", []byte("R7\x1b[31m\n"))
	a, _ := tpmAgent(t, m, tpmtest.Options{})
	s, err := a.Show(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Device != a.ID() || s.IMA.Entries != 1 || s.Bank != "sha256" || len(s.PCRs) != 24 || s.BootLog.Malformed == "" || s.Platform == nil {
		t.Errorf("Show = %+v", s)
	}
	var text bytes.Buffer
	if err := s.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{a.ID(), "1 entries", "PCR 0 sha256", "Acme", "may leave", "everything"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("show prints no %q:\n%s", part, &text)
		}
	}
	if strings.Contains(text.String(), "\x1b") {
		t.Error("show passes control characters from the firmware on")
	}
	if b, err := json.Marshal(s); err != nil || !bytes.Contains(b, []byte(`"boot_id":"0123456789abcdef0123456789abcdef"`)) {
		t.Errorf("JSON: %s, %v", b, err)
	}
}

func TestShowWithCharterAndWithoutTPM(t *testing.T) {
	m := newMachine(t)
	file := filepath.Join(t.TempDir(), "charter.yaml")
	if err := os.WriteFile(file, []byte("allow: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Identity, cfg.Root, cfg.StateDir, cfg.Charter = IdentitySoftware, m.root, t.TempDir(), file
	s, err := open(t, cfg).Show(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Platform != nil || s.Withheld == "" || s.BootLog.Unavailable == "" || s.IMA.Unavailable == "" || len(s.PCRs) != 0 {
		t.Errorf("Show = %+v, want everything withheld", s)
	}
	var text bytes.Buffer
	if err := s.Write(&text); err != nil || strings.Contains(text.String(), "Acme") {
		t.Errorf("show prints what the charter withholds: %v\n%s", err, &text)
	}
}
