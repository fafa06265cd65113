package guest

import "bytes"

// Splitter cuts what a console says into lines. It is an io.Writer.
type Splitter struct {
	// Line is called with every line without its end, and with the beginning of one that is longer than MaxLine.
	Line func([]byte)
	rest []byte
}

// Write takes the next bytes. It never fails.
func (s *Splitter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		s.add(p[:i])
		s.flush()
		p = p[i+1:]
	}
	s.add(p)
	return n, nil
}

// Rest returns what has come since the last end of a line: a prompt, for example.
func (s *Splitter) Rest() []byte { return s.rest }

func (s *Splitter) add(p []byte) {
	for len(s.rest)+len(p) > MaxLine {
		n := MaxLine - len(s.rest)
		s.rest = append(s.rest, p[:n]...)
		s.flush()
		p = p[n:]
	}
	s.rest = append(s.rest, p...)
}

func (s *Splitter) flush() {
	s.Line(bytes.TrimRight(s.rest, "\r"))
	s.rest = s.rest[:0]
}
