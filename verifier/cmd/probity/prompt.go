package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxSecret is the longest password or token that is read, in bytes.
const maxSecret = 4 << 10

// answer waits for what is typed, or until the person interrupts: reading itself goes on then.
func (a *app) answer(read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	came := make(chan answer, 1)
	go func() {
		text, err := read()
		came <- answer{text, err}
	}()
	select {
	case got := <-came:
		return got.text, got.err
	case <-a.interrupted:
		fmt.Fprintln(a.stderr)
		return "", errors.New("interrupted")
	}
}

// confirm asks a question on the terminal.
func (a *app) confirm(format string, args ...any) bool {
	fmt.Fprint(a.stderr, safe(fmt.Sprintf(format, args...)))
	line, err := a.answer(func() (string, error) { return bufio.NewReader(a.stdin).ReadString('\n') })
	return err == nil && strings.EqualFold(strings.TrimSpace(line), "y")
}

// secret reads a password or token: the first line of a file, of standard input for "-", or what is typed unseen on the
// terminal. It is no argument, because every user of a machine sees the arguments of all commands.
func (a *app) secret(file, flag, what string) (string, error) {
	switch {
	case file == "" && isTerminal(a.stdin):
		return a.typed(what + ": ")
	case file == "":
		return "", fmt.Errorf("there is no terminal to type the %s on: give %s FILE, or - for standard input", what, flag)
	}
	b, err := a.readFile(file, maxSecret)
	if err != nil {
		return "", err
	}
	return firstLine(string(b), what)
}

func firstLine(text, what string) (string, error) {
	line, rest, _ := strings.Cut(text, "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", fmt.Errorf("the %s is empty", what)
	}
	if strings.TrimSpace(rest) != "" {
		return "", fmt.Errorf("the %s has more than one line: is this the right file?", what)
	}
	return line, nil
}

// typed reads a line from the terminal without showing it.
func (a *app) typed(prompt string) (string, error) {
	file, ok := a.stdin.(*os.File)
	if !ok {
		return "", errors.New("there is no terminal to type on")
	}
	fd := int(file.Fd())
	if state, err := term.GetState(fd); err == nil {
		defer func() { _ = term.Restore(fd, state) }() // also where the answer never comes
	}
	fmt.Fprint(a.stderr, prompt)
	text, err := a.answer(func() (string, error) {
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(a.stderr)
		return string(b), err
	})
	if errors.Is(err, io.EOF) || err == nil && text == "" {
		return "", errors.New("nothing was typed")
	}
	return text, err
}

// newPassword reads a new password, typed twice on a terminal.
func (a *app) newPassword(file, flag, what string) (string, error) {
	first, err := a.secret(file, flag, what)
	if err != nil || file != "" {
		return first, err
	}
	again, err := a.typed(what + " again: ")
	if err != nil {
		return "", err
	}
	if again != first {
		return "", errors.New("the two are not the same")
	}
	return first, nil
}

// consent asks before something that cannot be undone: yes was given on the command line, or is said on a terminal.
func (a *app) consent(yes bool, format string, args ...any) error {
	switch {
	case yes || a.dryRun:
		return nil
	case !isTerminal(a.stdin):
		return &exit{exitUsage, errors.New("there is no terminal to confirm on: give --yes")}
	case !a.confirm(format+" [y/N] ", args...):
		return errors.New("not confirmed: nothing was changed")
	}
	return nil
}
