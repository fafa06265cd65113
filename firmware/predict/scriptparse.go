package predict

import (
	"fmt"
	"slices"
	"strings"
)

// statement is a command, or a condition if it has branches.
type statement struct {
	line      int
	negated   bool
	words     []word
	branches  []branch
	otherwise []statement
}

type branch struct{ condition, body []statement }

// word is an argument: texts and variables that are joined.
type word []piece

type piece struct {
	text     string // or the variable's name
	variable bool
	quoted   bool
}

// expand replaces the variables of a word.
func (s *script) expand(w word) (string, error) {
	var out strings.Builder
	for _, p := range w {
		t := p.text
		if p.variable {
			v := s.variables[p.text]
			if !p.quoted && (v == "" || strings.ContainsAny(v, " \t\n*?")) {
				return "", fmt.Errorf("variable %s is empty or would be split", p.text)
			}
			t = v
		}
		if out.Len()+len(t) > maxWord {
			return "", fmt.Errorf("a word of more than %d bytes", maxWord)
		}
		out.WriteString(t)
	}
	return out.String(), nil
}

// token is a word or an end of a command.
type token struct {
	line int
	word word
	end  bool // ";" or the end of a line
}

// keyword returns the token's text if it could be a keyword: one piece without quotes.
func (t *token) keyword() string {
	if t.end || len(t.word) != 1 || t.word[0].quoted || t.word[0].variable {
		return ""
	}
	return t.word[0].text
}

// refused are keywords and commands whose form is not that of simple commands.
var refused = []string{"function", "menuentry", "submenu", "for", "while", "until", "{", "}", "case", "select", "time"}

// parseScript parses the simple commands and conditions of a GRUB script (GRUB manual, "Writing full configuration
// files directly"). Any other construct is an error that names it.
func parseScript(text string) ([]statement, error) {
	tokens, err := tokenise(text)
	if err != nil {
		return nil, err
	}
	p := &scriptParser{tokens: tokens}
	list, err := p.list(0)
	if err != nil {
		return nil, err
	}
	if len(p.tokens) > 0 {
		return nil, fmt.Errorf("line %d: %q without if", p.tokens[0].line, p.tokens[0].keyword())
	}
	return list, nil
}

type scriptParser struct{ tokens []token }

// list parses statements up to a keyword that closes a condition's part, which it leaves.
func (p *scriptParser) list(depth int) ([]statement, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("conditions nest more than %d deep", maxNesting)
	}
	var out []statement
	for len(p.tokens) > 0 {
		t := p.tokens[0]
		if t.end {
			p.tokens = p.tokens[1:]
			continue
		}
		k := t.keyword()
		switch {
		case slices.Contains([]string{"then", "elif", "else", "fi"}, k):
			return out, nil
		case k == "if":
			st, err := p.condition(depth)
			if err != nil {
				return nil, err
			}
			out = append(out, st)
		case slices.Contains(refused, k):
			return nil, fmt.Errorf("line %d: %q depends on what happens while GRUB runs", t.line, k)
		default:
			st, err := p.simple()
			if err != nil {
				return nil, err
			}
			out = append(out, st)
		}
	}
	return out, nil
}

func (p *scriptParser) simple() (statement, error) {
	st := statement{line: p.tokens[0].line}
	for p.tokens[0].keyword() == "!" {
		st.negated = !st.negated
		if p.tokens = p.tokens[1:]; len(p.tokens) == 0 {
			return st, fmt.Errorf("line %d: ! without a command", st.line)
		}
	}
	for len(p.tokens) > 0 && !p.tokens[0].end {
		st.words = append(st.words, p.tokens[0].word)
		p.tokens = p.tokens[1:]
	}
	if len(st.words) == 0 {
		return st, fmt.Errorf("line %d: ! without a command", st.line)
	}
	return st, nil
}

// condition parses "if LIST then LIST [elif LIST then LIST]... [else LIST] fi".
func (p *scriptParser) condition(depth int) (statement, error) {
	st := statement{line: p.tokens[0].line}
	for {
		p.tokens = p.tokens[1:] // if or elif
		condition, err := p.list(depth + 1)
		if err != nil {
			return st, err
		}
		if !p.take("then") || len(condition) == 0 {
			return st, fmt.Errorf("line %d: if without condition or then", st.line)
		}
		body, err := p.list(depth + 1)
		if err != nil {
			return st, err
		}
		st.branches = append(st.branches, branch{condition, body})
		if len(p.tokens) == 0 || p.tokens[0].keyword() != "elif" {
			break
		}
	}
	if p.take("else") {
		var err error
		if st.otherwise, err = p.list(depth + 1); err != nil {
			return st, err
		}
	}
	if !p.take("fi") {
		return st, fmt.Errorf("line %d: if without fi", st.line)
	}
	return st, nil
}

func (p *scriptParser) take(keyword string) bool {
	if len(p.tokens) == 0 || p.tokens[0].keyword() != keyword {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

// tokenise splits a script into words and ends of commands.
func tokenise(text string) ([]token, error) {
	var out []token
	t := tokeniser{text: text, line: 1}
	for {
		tok, ok, err := t.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return append(out, token{line: t.line, end: true}), nil
		}
		out = append(out, tok)
	}
}

type tokeniser struct {
	text string
	line int
}

func (t *tokeniser) next() (token, bool, error) {
	for {
		t.text = strings.TrimLeft(t.text, " \t\r")
		if strings.HasPrefix(t.text, "\\\n") {
			t.text = t.text[2:]
			t.line++
			continue
		}
		if strings.HasPrefix(t.text, "#") {
			end := strings.IndexByte(t.text, '\n')
			if end < 0 {
				end = len(t.text)
			}
			t.text = t.text[end:]
		}
		break
	}
	if t.text == "" {
		return token{}, false, nil
	}
	tok := token{line: t.line}
	if c := t.text[0]; c == '\n' || c == ';' {
		t.text = t.text[1:]
		if tok.end = true; c == '\n' {
			t.line++
		}
		return tok, true, nil
	}
	err := t.words(&tok)
	return tok, true, err
}

// words reads the pieces of one word.
func (t *tokeniser) words(tok *token) error {
	add := func(s string, quoted bool) {
		n := len(tok.word)
		if n > 0 && !tok.word[n-1].variable && tok.word[n-1].quoted == quoted {
			tok.word[n-1].text += s
			return
		}
		tok.word = append(tok.word, piece{text: s, quoted: quoted})
	}
	for t.text != "" {
		end := strings.IndexAny(t.text, " \t\r\n;'\"\\$|&<>*?{}")
		if end < 0 {
			end = len(t.text)
		}
		if end > 0 {
			add(t.text[:end], false)
			t.text = t.text[end:]
			continue
		}
		switch c := t.text[0]; c {
		case ' ', '\t', '\r', '\n', ';':
			return nil
		case '\'':
			inside, rest, ok := strings.Cut(t.text[1:], "'")
			if !ok {
				return fmt.Errorf("line %d: ' without its pair", tok.line)
			}
			add(inside, true)
			t.text = rest
			t.line += strings.Count(inside, "\n")
		case '"':
			if err := t.quoted(tok, add); err != nil {
				return err
			}
		case '\\':
			if len(t.text) < 2 {
				return fmt.Errorf("line %d: \\ at the end", tok.line)
			}
			add(t.text[1:2], true)
			t.text = t.text[2:]
		case '$':
			if err := t.variable(tok, false); err != nil {
				return err
			}
		case '{', '}':
			add(t.text[:1], false)
			t.text = t.text[1:]
		default:
			return fmt.Errorf("line %d: %q outside of quotes cannot be followed", tok.line, c)
		}
	}
	return nil
}

// quoted reads a part in double quotes.
func (t *tokeniser) quoted(tok *token, add func(string, bool)) error {
	t.text = t.text[1:]
	add("", true)
	for {
		end := strings.IndexAny(t.text, "\"\\$")
		if end < 0 {
			return fmt.Errorf("line %d: \" without its pair", tok.line)
		}
		add(t.text[:end], true)
		t.line += strings.Count(t.text[:end], "\n")
		c := t.text[end]
		t.text = t.text[end:]
		switch {
		case c == '"':
			t.text = t.text[1:]
			return nil
		case c == '$':
			if err := t.variable(tok, true); err != nil {
				return err
			}
		case len(t.text) > 1 && strings.ContainsRune(`"\$`, rune(t.text[1])):
			add(t.text[1:2], true)
			t.text = t.text[2:]
		default:
			add(`\`, true)
			t.text = t.text[1:]
		}
	}
}

func inName(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// variable reads "$name" or "${name}".
func (t *tokeniser) variable(tok *token, quoted bool) error {
	t.text = t.text[1:]
	braced := strings.HasPrefix(t.text, "{")
	if braced {
		t.text = t.text[1:]
	}
	n := 0
	for n < len(t.text) && inName(t.text[n]) {
		n++
	}
	name := t.text[:n]
	t.text = t.text[n:]
	if braced {
		if !strings.HasPrefix(t.text, "}") {
			return fmt.Errorf("line %d: ${ without }", tok.line)
		}
		t.text = t.text[1:]
	}
	if name == "" || name[0] <= '9' {
		return fmt.Errorf("line %d: $ without the name of a variable", tok.line)
	}
	tok.word = append(tok.word, piece{text: name, variable: true, quoted: quoted})
	return nil
}
