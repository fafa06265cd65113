package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Source says where a configuration comes from. The zero Source leaves the defaults.
type Source struct {
	File      string         // YAML file; "" for none; one that is named must exist
	EnvPrefix string         // such as "PROBITY_AGENT_"; "" for no environment
	Environ   []string       // "name=value"; nil: the process's environment
	Flags     *pflag.FlagSet // parsed; only flags that were given count. See AddFlags
	Warn      func(string)   // told what is dangerous, though not wrong; nil: the default logger
}

// Load fills cfg, a pointer to a struct as the package comment describes it, from src. After an error cfg must not be
// used. All errors of the environment come at once, of a file the first.
func Load(cfg any, src Source) error {
	list := fields(cfg)
	x := newIndex(list)
	from := origin{}
	k := koanf.New(".")
	load := func(m map[string]any) error { return k.Load(confmap.Provider(m, "."), nil) }
	if src.File != "" {
		m, err := readFile(src.File, x, from)
		if err != nil {
			return err
		}
		warnOfMode(src, list, from)
		if err := load(m); err != nil {
			return fmt.Errorf("configuration file %s: %w", src.File, err)
		}
	}
	env, err := fromEnvironment(list, src, from)
	if err != nil {
		return err
	}
	if err := errors.Join(load(env), load(fromFlags(list, src.Flags, from))); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	for _, f := range list {
		if !k.Exists(f.key) {
			continue
		}
		if err := set(f.value, k.Get(f.key)); err != nil {
			return fmt.Errorf("%s: key %q: %w", from[f.key], f.key, err)
		}
	}
	return nil
}

// serviceLink reports whether name, without our prefix, is what Kubernetes puts into the environment of every container
// for a Service whose name happens to give our prefix ("Accessing the Service", environment variables): SERVICE_HOST,
// SERVICE_PORT and, of the form of Docker links, PORT_8883_TCP_ADDR. These are not meant for us.
func serviceLink(name string) bool {
	if name == "SERVICE_HOST" || name == "SERVICE_PORT" || strings.HasPrefix(name, "SERVICE_PORT_") || name == "PORT" {
		return true
	}
	rest, ok := strings.CutPrefix(name, "PORT_")
	port, protocol, _ := strings.Cut(rest, "_")
	_, err := strconv.ParseUint(port, 10, 16)
	protocol, _, _ = strings.Cut(protocol, "_")
	return ok && err == nil && (protocol == "TCP" || protocol == "UDP" || protocol == "SCTP")
}

func fromEnvironment(list []field, src Source, from origin) (map[string]any, error) {
	out := map[string]any{}
	if src.EnvPrefix == "" {
		return out, nil
	}
	environ := src.Environ
	if environ == nil {
		environ = os.Environ()
	}
	byName := make(map[string]field, len(list))
	names := make([]string, 0, len(list))
	for _, f := range list {
		byName[f.env(src.EnvPrefix)] = f
		names = append(names, f.env(src.EnvPrefix))
	}
	var errs []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		rest, ours := strings.CutPrefix(name, src.EnvPrefix)
		if !ours {
			continue
		}
		f, known := byName[name]
		switch {
		case known:
			out[f.key] = value
			from[f.key] = "environment variable " + name
		case serviceLink(rest):
		default:
			errs = append(errs, fmt.Errorf("unknown environment variable %q%s", clip(name), DidYouMean(name, names)))
		}
	}
	return out, errors.Join(errs...)
}

func fromFlags(list []field, flags *pflag.FlagSet, from origin) map[string]any {
	out := map[string]any{}
	if flags == nil {
		return out
	}
	for _, f := range list {
		flag := flags.Lookup(f.flag())
		if flag == nil || !flag.Changed {
			continue
		}
		from[f.key] = "flag --" + flag.Name
		if v, ok := flag.Value.(*flagValue); ok {
			out[f.key] = v.raw()
			continue
		}
		out[f.key] = flag.Value.String()
	}
	return out
}

// warnOfMode warns of a file that others may read although it holds a secret, or that others may change.
func warnOfMode(src Source, list []field, from origin) {
	info, err := os.Stat(src.File)
	if err != nil {
		return // it was just read
	}
	warn := src.Warn
	if warn == nil {
		warn = func(message string) { slog.Warn(message) }
	}
	mode := info.Mode().Perm()
	if mode&0o002 != 0 {
		warn(fmt.Sprintf("configuration file %s is writable by everybody (mode %#o): chmod o-w it", src.File, mode))
	}
	for _, f := range list {
		if f.secret && from[f.key] != "" && mode&0o004 != 0 {
			warn(fmt.Sprintf("configuration file %s holds the secret %q and is readable by everybody (mode %#o): chmod 0600 it",
				src.File, f.key, mode))
		}
	}
}
