// Package packages builds the packages that operators and device makers install, installs them, starts what is in them,
// and upgrades it.
package packages

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Versions that are built: the second is an upgrade of the first.
const (
	first  = "1.0.0"
	second = "1.1.0"
)

// built are the packages by "KIND NAME VERSION".
var built map[string]string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "probity-packages-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if built, err = build(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// build runs make packages as a release would, for this machine's architecture.
func build(dir string) (map[string]string, error) {
	arch, err := exec.Command("go", "env", "GOARCH").Output()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for version, kinds := range map[string][]string{first: {"deb", "rpm", "apk", "ipk"}, second: {"deb", "rpm"}} {
		cmd := exec.Command("make", "packages", "PACKAGE_ARCHS="+strings.TrimSpace(string(arch)), "PACKAGE_VERSION="+version,
			"PACKAGE_DIR="+filepath.Join(dir, version), "PACKAGE_KINDS="+strings.Join(kinds, " "))
		cmd.Dir = filepath.Join("..", "..", "..")
		if b, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", cmd, err, b)
		}
		for _, kind := range kinds {
			for _, name := range []string{"probity-agent", "probity-verifier"} {
				found, err := filepath.Glob(filepath.Join(dir, version, name+"?"+version+"*."+kind))
				if err != nil || len(found) != 1 {
					return nil, fmt.Errorf("packages %s of %s %s: %q", kind, name, version, found)
				}
				out[kind+" "+name+" "+version] = found[0]
			}
		}
	}
	return out, nil
}

// need skips a test without a program that distributions have for their own packages.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("skipped: %v: it installs packages of this kind", err)
	}
	if os.Getuid() != 0 {
		t.Skip("skipped: installing packages needs root")
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, b)
	}
	return string(b)
}

// machine is a folder into which packages are installed.
type machine struct {
	*testing.T
	root    string
	install func(m *machine, file string)
	remove  func(m *machine, name string)
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *machine) read(name string) string {
	m.Helper()
	b, err := os.ReadFile(m.path(name))
	if err != nil {
		m.Fatal(err)
	}
	return string(b)
}

func (m *machine) exists(name string) bool {
	_, err := os.Stat(m.path(name))
	return err == nil
}

// debian is a machine with dpkg. Its scripts run outside of the folder, where there is no systemd to talk to.
func debian(t *testing.T) *machine {
	need(t, "dpkg")
	m := &machine{T: t, root: t.TempDir()}
	for _, dir := range []string{"var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/dpkg/triggers"} {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"var/lib/dpkg/status", "var/lib/dpkg/available"} {
		if err := os.WriteFile(m.path(file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	flags := []string{"--root=" + m.root, "--force-script-chrootless", "--force-confold", "--log=/dev/null"}
	m.install = func(m *machine, file string) { run(m.T, "dpkg", append(flags, "--install", file)...) }
	m.remove = func(m *machine, name string) { run(m.T, "dpkg", append(flags, "--remove", name)...) }
	return m
}

// redhat is a machine with rpm. Its scripts would need a shell in the folder.
func redhat(t *testing.T) *machine {
	need(t, "rpm")
	m := &machine{T: t, root: t.TempDir()}
	run(t, "rpm", "--root", m.root, "--initdb")
	m.install = func(m *machine, file string) {
		run(m.T, "rpm", "--root", m.root, "--nodeps", "--noscripts", "--nosignature", "-U", file)
	}
	m.remove = func(m *machine, name string) {
		run(m.T, "rpm", "--root", m.root, "--nodeps", "--noscripts", "-e", name)
	}
	return m
}

// TestInstalled: what a package puts where, on the systems that know systemd.
func TestInstalled(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *machine{"deb": debian, "rpm": redhat} {
		t.Run(name, func(t *testing.T) {
			m := start(t)
			for _, of := range []string{"probity-agent", "probity-verifier"} {
				m.install(m, built[name+" "+of+" "+first])
				unit := m.read("usr/lib/systemd/system/" + of + ".service")
				if !strings.Contains(unit, "ExecStart=/usr/bin/"+of) {
					t.Errorf("the unit of %s starts something else:\n%s", of, unit)
				}
				if got := run(t, m.path("usr/bin/"+of), "version"); !strings.Contains(got, first) {
					t.Errorf("%s version = %q, want %s", of, got, first)
				}
			}
			if got := run(t, m.path("usr/bin/probity"), "version"); !strings.Contains(got, first) {
				t.Errorf("probity version = %q", got)
			}
			info, err := os.Stat(m.path("etc/probity/agent.yaml"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("agent.yaml, which will hold a token: %v, %v, want mode 0600", info, err)
			}
			for _, of := range []string{"probity-agent", "probity-verifier"} {
				m.remove(m, of)
				if m.exists("usr/bin/" + of) {
					t.Errorf("%s is still there after its removal", of)
				}
			}
		})
	}
}

// TestArchives: the packages of the systems that are not at hand hold what these systems need, and the programs in them run.
func TestArchives(t *testing.T) {
	for kind, want := range map[string][]string{
		"apk": {"etc/init.d/NAME", "usr/bin/NAME", "etc/probity/CONFIG", "usr/share/doc/NAME/copyright"},
		"ipk": {"etc/init.d/NAME", "usr/bin/NAME", "etc/probity/CONFIG", "lib/upgrade/keep.d/NAME"},
	} {
		for name, config := range map[string]string{"probity-agent": "agent.yaml", "probity-verifier": "verifier.yaml"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				file := built[kind+" "+name+" "+first]
				if kind == "ipk" {
					run(t, "tar", "-xzf", file, "-C", dir)
					control := run(t, "tar", "-xzOf", filepath.Join(dir, "control.tar.gz"), "./control")
					if !strings.Contains(control, "Version: "+first) || !strings.Contains(control, "Package: "+name) {
						t.Errorf("control = %q", control)
					}
					file = filepath.Join(dir, "data.tar.gz")
				}
				root := filepath.Join(dir, "root")
				if err := os.Mkdir(root, 0o755); err != nil {
					t.Fatal(err)
				}
				run(t, "tar", "--warning=no-unknown-keyword", "-xzf", file, "-C", root)
				for _, path := range want {
					path = strings.NewReplacer("NAME", name, "CONFIG", config).Replace(path)
					if _, err := os.Stat(filepath.Join(root, path)); err != nil {
						t.Errorf("not in the package: %v", err)
					}
				}
				script := filepath.Join(root, "etc/init.d", name)
				run(t, "sh", "-n", script)
				if info, err := os.Stat(script); err != nil || info.Mode().Perm() != 0o755 {
					t.Errorf("init script: %v, %v, want mode 0755", info, err)
				}
				if got := run(t, filepath.Join(root, "usr/bin", name), "version"); !strings.Contains(got, first) {
					t.Errorf("version = %q, want %s", got, first)
				}
			})
		}
	}
}

// TestHardened: systemd's own measure of what the services may do to a machine.
func TestHardened(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skipf("skipped: %v", err)
	}
	for _, unit := range []string{"agent/package/probity-agent.service", "verifier/package/probity-verifier.service"} {
		b, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25", filepath.Join("..", "..", "..", unit)).CombinedOutput()
		if err != nil {
			lines := slices.Collect(strings.Lines(string(bytes.TrimSpace(b))))
			t.Errorf("%s: %v: %s", unit, err, lines[len(lines)-1])
		}
	}
}
