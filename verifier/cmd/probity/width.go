package main

import (
	"os"

	"golang.org/x/term"
)

// terminalSize returns how many columns and lines a terminal has, 0 if it is none or does not tell.
func terminalSize(f any) (columns, lines int) {
	file, ok := f.(*os.File)
	if !ok {
		return 0, 0
	}
	columns, lines, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, lines
}

// isTerminal reports whether a file is a terminal.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
