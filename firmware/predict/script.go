package predict

import (
	"errors"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/firmware/eventlog"
)

// errBooted ends a script: the kernel was started.
var errBooted = errors.New("booted")

// script follows GRUB scripts and notes what GRUB measures of them. It knows the commands that lead from a
// configuration to a kernel and fails at any other, because what that does cannot be told from outside.
type script struct {
	device    string // that GRUB was started from
	variables map[string]string
	files     map[string][]byte // by path with device

	records  []record
	kernel   []byte
	cmdline  string // with the kernel's path in front
	commands int
	measured int // bytes
	depth    int
}

// absolute returns a path with its device.
func (s *script) absolute(path string) string {
	if strings.HasPrefix(path, "(") {
		return path
	}
	return "(" + s.variables["root"] + ")" + path
}

// run follows one script.
func (s *script) run(text string) error {
	if len(text) > MaxScript {
		return fmt.Errorf("a script of %d bytes, want at most %d", len(text), MaxScript)
	}
	list, err := parseScript(text)
	if err != nil {
		return err
	}
	if s.depth++; s.depth > maxNesting {
		return fmt.Errorf("scripts nest more than %d deep", maxNesting)
	}
	_, err = s.list(list)
	s.depth--
	return err
}

// list runs statements and tells whether the last one succeeded.
func (s *script) list(list []statement) (ok bool, err error) {
	ok = true
	for i := range list {
		if ok, err = s.statement(&list[i]); err != nil {
			return false, err
		}
	}
	return ok, nil
}

func (s *script) statement(st *statement) (bool, error) {
	if st.branches == nil {
		ok, err := s.command(st)
		return ok != st.negated, err
	}
	for _, b := range st.branches {
		ok, err := s.list(b.condition)
		if err != nil {
			return false, err
		}
		if ok {
			return s.list(b.body)
		}
	}
	return s.list(st.otherwise)
}

// command measures and runs one command.
func (s *script) command(st *statement) (bool, error) {
	args := make([]string, len(st.words))
	for i, w := range st.words {
		a, err := s.expand(w)
		if err != nil {
			return false, fmt.Errorf("line %d: %w", st.line, err)
		}
		args[i] = a
	}
	text := strings.Join(args, " ")
	s.commands++
	s.measured += len(text)
	if s.commands > maxCommands || s.measured > maxCommandBytes {
		return false, fmt.Errorf("line %d: more than %d commands or %d bytes of commands", st.line, maxCommands, maxCommandBytes)
	}
	s.text("grub_cmd", text, "command of GRUB")
	ok, err := s.execute(args)
	if err != nil && !errors.Is(err, errBooted) {
		err = fmt.Errorf("line %d: %w", st.line, err)
	}
	return ok, err
}

// text notes a text that GRUB measures.
func (s *script) text(kind, text, note string) {
	s.records = append(s.records, record{
		pcr: commandPCR, typ: eventlog.IPL, data: append([]byte(kind+": "+text), 0), content: []byte(text), note: note,
	})
}

// file notes a file that GRUB reads and measures.
func (s *script) file(path string) ([]byte, error) {
	content, ok := s.files[s.absolute(path)]
	if !ok {
		return nil, fmt.Errorf("%q is not among the given files", path)
	}
	s.records = append(s.records, record{
		pcr: linuxPCR, typ: eventlog.IPL, data: append([]byte(path), 0), content: content, pattern: " *",
		note: "file that GRUB reads",
	})
	return content, nil
}

func (s *script) execute(args []string) (bool, error) {
	name, args := args[0], args[1:]
	if key, value, ok := strings.Cut(name, "="); ok && len(args) == 0 {
		return true, s.set(key, value)
	}
	switch name {
	case "[":
		if len(args) == 0 || args[len(args)-1] != "]" {
			return false, errors.New("[ without ]")
		}
		return s.test(args[:len(args)-1])
	case "test":
		return s.test(args)
	case "true", "echo", "export":
		return true, nil
	case "false":
		return false, nil
	case "set":
		if len(args) == 1 {
			if key, value, ok := strings.Cut(args[0], "="); ok {
				return true, s.set(key, value)
			}
		}
	case "source", ".", "configfile":
		if len(args) == 1 {
			return true, s.source(args[0])
		}
	case "linux", "linuxefi":
		return true, s.linux(args)
	case "initrd", "initrdefi":
		if len(args) == 1 && s.kernel != nil {
			_, err := s.file(args[0])
			return true, err
		}
	case "boot":
		if len(args) == 0 && s.kernel != nil {
			return true, errBooted
		}
	}
	text := strings.Join(append([]string{name}, args...), " ")
	return false, fmt.Errorf("the command %.60q is not one that can be followed", text)
}

func (s *script) set(key, value string) error {
	if len(s.variables) >= maxCommands {
		return errors.New("too many variables")
	}
	s.variables[key] = value
	return nil
}

func (s *script) source(path string) error {
	content, err := s.file(path)
	if err != nil {
		return err
	}
	return s.run(string(content))
}

// linux loads the kernel and notes its command line, which GRUB measures with the kernel's path in front.
func (s *script) linux(args []string) error {
	if len(args) == 0 {
		return errors.New("linux without a kernel")
	}
	content, err := s.file(args[0])
	if err != nil {
		return err
	}
	s.kernel, s.cmdline = content, loaderCmdline(args)
	s.text("kernel_cmdline", s.cmdline, "command line of the kernel")
	return nil
}

// loaderCmdline joins arguments as GRUB does for a kernel (grub-core/lib/cmdline.c): quotes and backslashes get a
// backslash, arguments with spaces quotes.
func loaderCmdline(args []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = quote.Replace(a)
		if strings.Contains(a, " ") {
			out[i] = `"` + out[i] + `"`
		}
	}
	return strings.Join(out, " ")
}

// test evaluates a condition: -z, -n, -e, -f, -d, comparisons of texts, !, -a and -o, which binds weakest.
func (s *script) test(args []string) (bool, error) {
	if len(args) > maxCondition {
		return false, fmt.Errorf("a condition of %d words, want at most %d", len(args), maxCondition)
	}
	for i, a := range args {
		if a == "-o" && i > 0 {
			left, err := s.test(args[:i])
			if err != nil {
				return false, err
			}
			right, err := s.test(args[i+1:])
			return left || right, err
		}
	}
	for i, a := range args {
		if a == "-a" && i > 0 {
			left, err := s.test(args[:i])
			if err != nil {
				return false, err
			}
			right, err := s.test(args[i+1:])
			return left && right, err
		}
	}
	if len(args) > 0 && args[0] == "!" {
		ok, err := s.test(args[1:])
		return !ok, err
	}
	switch {
	case len(args) == 2 && args[0] == "-z":
		return args[1] == "", nil
	case len(args) == 2 && args[0] == "-n":
		return args[1] != "", nil
	case len(args) == 2 && (args[0] == "-e" || args[0] == "-s"):
		return s.exists(args[1], true, true), nil
	case len(args) == 2 && args[0] == "-f":
		return s.exists(args[1], true, false), nil
	case len(args) == 2 && args[0] == "-d":
		return s.exists(args[1], false, true), nil
	case len(args) == 3 && (args[1] == "=" || args[1] == "=="):
		return args[0] == args[2], nil
	case len(args) == 3 && args[1] == "!=":
		return args[0] != args[2], nil
	}
	return false, fmt.Errorf("the condition %.60q is not one that can be followed", strings.Join(args, " "))
}

// exists tells whether there is a file or a folder. Only the given files exist, and the folders they are in.
func (s *script) exists(path string, file, folder bool) bool {
	path = strings.TrimRight(s.absolute(path), "/")
	for name := range s.files {
		if file && name == path || folder && strings.HasPrefix(name, path+"/") {
			return true
		}
	}
	return false
}
