package debian

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// imagePrefix is what the names of packages with a kernel begin with.
const imagePrefix = "linux-image-"

// sources are where a distribution says where its own packages are, the newer form first. Others' sources, which stand
// in further files, are not asked: they need not know every architecture.
var sources = []string{
	"/etc/apt/sources.list.d/debian.sources",
	"/etc/apt/sources.list.d/ubuntu.sources",
	"/etc/apt/sources.list",
}

// hooks are lists of commands that a machine's configuration may have apt run. They are for the machine's own lists.
const hooks = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`

// apt runs apt-get with lists of its own.
type apt struct {
	options []string
}

// newApt prepares lists for one architecture below cache.
func newApt(cache, architecture string) (*apt, error) {
	state := filepath.Join(cache, "apt-"+architecture)
	for _, dir := range []string{"lists/partial", "cache/archives/partial", "parts"} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o755); err != nil {
			return nil, err
		}
	}
	name, text, err := readSources(sources)
	if err != nil {
		return nil, err
	}
	files := map[string]string{"status": "", "apt.conf": hooks, "parts/" + name: text}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(state, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	a := &apt{options: []string{"--quiet", "--config-file", filepath.Join(state, "apt.conf")}}
	for _, o := range []string{
		"APT::Architecture=" + architecture, "APT::Architectures=" + architecture,
		// The user that apt downloads as can't enter a private folder; apt would warn and go on as root anyway.
		"APT::Sandbox::User=root",
		"Dir::State=" + state, "Dir::State::lists=" + filepath.Join(state, "lists"),
		"Dir::State::status=" + filepath.Join(state, "status"), "Dir::Cache=" + filepath.Join(state, "cache"),
		"Dir::Etc::sourcelist=/dev/null", "Dir::Etc::sourceparts=" + filepath.Join(state, "parts"),
		"Acquire::Languages=none", "Acquire::Retries=1", "Acquire::http::Timeout=30",
	} {
		a.options = append(a.options, "--option", o)
	}
	return a, nil
}

// readSources returns the first of the files that names sources, for apt's folder of sources.
func readSources(paths []string) (name, text string, err error) {
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", "", err
		}
		name, text := "distribution.sources", anyArchitecture(string(b))
		if filepath.Ext(path) == ".list" {
			name, text = "distribution.list", anyArchitectureList(string(b))
		}
		if strings.Contains(text, "deb") { // otherwise it has comments only
			return name, text, nil
		}
	}
	return "", "", fmt.Errorf("no sources of packages in %s: packages are fetched on Debian and its kind only",
		strings.Join(paths, ", "))
}

// anyArchitecture removes from deb822 sources what binds them to architectures, sources of source packages and comments
// (sources.list(5)).
func anyArchitecture(text string) string {
	var out strings.Builder
	dropped := false
	for line := range strings.Lines(text) {
		field, _, _ := strings.Cut(line, ":")
		if line[0] != ' ' && line[0] != '\t' { // otherwise it continues the field before
			dropped = strings.EqualFold(field, "Architectures")
		}
		switch {
		case dropped || line[0] == '#':
		case strings.EqualFold(field, "Types"):
			out.WriteString("Types: deb\n")
		default:
			out.WriteString(line)
		}
	}
	return out.String()
}

// anyArchitectureList does the same for sources of one line each: "deb [ option=value ... ] URI suite component...".
func anyArchitectureList(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
			continue
		}
		words := []string{"deb"}
		if inside, after, ok := strings.Cut(strings.TrimSpace(rest), "]"); ok && inside[0] == '[' {
			options := slices.DeleteFunc(strings.Fields(inside[1:]), func(o string) bool { return strings.HasPrefix(o, "arch") })
			if len(options) > 0 {
				words = append(words, "["+strings.Join(options, " ")+"]")
			}
			rest = after
		}
		words = append(words, strings.Fields(rest)...)
		out.WriteString(strings.Join(words, " ") + "\n")
	}
	return out.String()
}

// update fetches the lists. A list that can't be had is left out by apt-get; what it said is returned.
func (a *apt) update(ctx context.Context) error {
	_, err := run(ctx, "", "apt-get", append(a.options, "update")...)
	return err
}

// kernel returns the package that a kernel's meta package depends on, such as linux-image-6.1.0-56-cloud-amd64.
func (a *apt) kernel(ctx context.Context, meta string) (string, error) {
	out, err := run(ctx, "", "apt-cache", append(a.options, "depends", "--no-recommends", "--no-suggests", meta)...)
	if err != nil {
		return "", err
	}
	image := parseDepends(out)
	if image == "" {
		return "", fmt.Errorf("%s depends on no kernel image", meta)
	}
	return image, nil
}

// dependsOnKernel is a line of apt-cache depends; behind the name may follow an architecture.
var dependsOnKernel = regexp.MustCompile(`(?m)^ *Depends: (` + imagePrefix + `[0-9][^\s:]*)`)

// parseDepends finds the kernel image in what apt-cache depends prints.
func parseDepends(out []byte) string {
	m := dependsOnKernel.FindSubmatch(out)
	if m == nil {
		return ""
	}
	return string(m[1])
}

// download gets packages into a folder. apt-get checks them against the signed lists.
func (a *apt) download(ctx context.Context, dir string, names []string) error {
	_, err := run(ctx, dir, "apt-get", append(append(a.options, "download"), names...)...)
	return err
}
