package predict

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// follow runs a script and returns what it measures: the texts of PCR 8 and the paths of PCR 9.
func follow(text string) (measured []string, cmdline string, err error) {
	s := &script{
		device: "hd0,gpt1", variables: map[string]string{"prefix": "(hd0,gpt1)/EFI/debian", "root": "hd0,gpt1"},
		files: map[string][]byte{
			"(hd0,gpt1)/linux": []byte("kernel"), "(hd0,gpt1)/initrd": []byte("initrd"),
			"(hd0,gpt1)/EFI/debian/grub.cfg": []byte("boot"), "(hd0,gpt1)/loop.cfg": []byte("source /loop.cfg"),
		},
	}
	err = s.run(text)
	for _, r := range s.records {
		measured = append(measured, strings.TrimSuffix(string(r.data), "\x00"))
	}
	return measured, s.cmdline, err
}

func TestScript(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		want    []string
		cmdline string
	}{
		"plain": {
			"# comment\nlinux /linux a=b ; initrd /initrd\nboot",
			[]string{
				"grub_cmd: linux /linux a=b", "/linux", "kernel_cmdline: /linux a=b", "grub_cmd: initrd /initrd", "/initrd",
				"grub_cmd: boot",
			},
			"/linux a=b",
		},
		"quotes and variables": {
			"set x=1\ny=\"two words\"\nlinux ($root)/linux 'a b' \"${x}$y\" \\$z \"\\\"\"\nboot",
			[]string{
				"grub_cmd: set x=1", "grub_cmd: y=two words", `grub_cmd: linux (hd0,gpt1)/linux a b 1two words $z "`,
				"(hd0,gpt1)/linux", `kernel_cmdline: (hd0,gpt1)/linux "a b" "1two words" $z \"`, "grub_cmd: boot",
			},
			`(hd0,gpt1)/linux "a b" "1two words" $z \"`,
		},
		"conditions": {
			"linux /linux\nif [ -z \"$nothing\" -a ! -f /linux ]; then false; elif test -d /EFI; then source $prefix/grub.cfg; else true\nfi",
			[]string{
				"grub_cmd: linux /linux", "/linux", "kernel_cmdline: /linux", "grub_cmd: [ -z  -a ! -f /linux ]",
				"grub_cmd: test -d /EFI", "grub_cmd: source (hd0,gpt1)/EFI/debian/grub.cfg", "(hd0,gpt1)/EFI/debian/grub.cfg",
				"grub_cmd: boot",
			},
			"/linux",
		},
		"negation, comparison and or": {
			"linux /linux\nif ! [ a = b ]; then if [ a != a -o x == x ]; then boot; fi; fi",
			[]string{
				"grub_cmd: linux /linux", "/linux", "kernel_cmdline: /linux", "grub_cmd: [ a = b ]",
				"grub_cmd: [ a != a -o x == x ]", "grub_cmd: boot",
			},
			"/linux",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, cmdline, err := follow(c.text)
			if !errors.Is(err, errBooted) {
				t.Fatalf("run() = %v, want a boot", err)
			}
			if d := cmp.Diff(c.want, got); d != "" || cmdline != c.cmdline {
				t.Errorf("command line %q, measured (-want +got):\n%s", cmdline, d)
			}
		})
	}
}

func TestScriptErrors(t *testing.T) {
	for text, want := range map[string]string{
		"menuentry 'Linux' { linux /linux }":    `line 1: "menuentry" depends`,
		"true\nfunction f {\n}":                 `line 2: "function" depends`,
		"search --file --set=root /x":           "the command \"search --file",
		"insmod part_gpt":                       "the command \"insmod part_gpt\"",
		"linux /other":                          `"/other" is not among the given files`,
		"boot":                                  "the command \"boot\"",
		"if true; then boot":                    "without fi",
		"if true\nboot\nfi":                     "without condition or then",
		"fi":                                    `"fi" without if`,
		"if":                                    "without condition or then",
		"!":                                     "! without a command",
		"! \n":                                  "! without a command",
		"set x='a":                              "' without its pair",
		"set x=\"a":                             "\" without its pair",
		"set x=${a":                             "${ without }",
		"echo $":                                "$ without the name",
		"echo $1":                               "$ without the name",
		"echo a\\":                              "\\ at the end",
		"echo *.cfg":                            `'*' outside of quotes`,
		"echo a | b":                            `'|' outside of quotes`,
		"echo $nothing":                         "variable nothing is empty",
		"source /loop.cfg":                      "nest more than",
		"[ a":                                   "[ without ]",
		"[ -q a ]":                              "the condition \"-q a\"",
		"test " + strings.Repeat("! ", 70):      "a condition of 70 words",
		strings.Repeat("true\n", maxCommands+1): "more than 2000 commands",
		strings.Repeat("if ", 40):               "nest more than",
		strings.Repeat(" ", MaxScript) + "x":    "a script of",
		"set a=" + strings.Repeat("x", 16000) + "\nset b=\"$a$a\"": "a word of more than",
		"linux /linux\ninitrd /initrd /initrd":                     "the command \"initrd",
	} {
		if _, _, err := follow(text); err == nil || errors.Is(err, errBooted) || !strings.Contains(err.Error(), want) {
			t.Errorf("run(%.60q) = %v, want an error with %q", text, err, want)
		}
	}
}
