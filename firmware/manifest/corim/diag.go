package corim

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Diagnose writes a document in CBOR diagnostic notation (RFC 8949, section 8; RFC 8610, appendix G) to w, one member
// of an array or map a line. Byte strings in which CoRIM puts encoded CBOR (tags, protected header, payload) are shown
// as <<...>>. The document must be well-formed within the limits, but may be of any kind.
func Diagnose(w io.Writer, b []byte) error {
	r, err := open(b, false)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	p := printer{r: r, w: out}
	p.item(0, false)
	p.print("\n")
	if r.err != nil {
		return r.err
	}
	return out.Flush()
}

// diagnose returns the notation of one small item.
func diagnose(b []byte) (string, error) {
	var out bytes.Buffer
	err := Diagnose(&out, b)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// printer prints items. Errors of w stay in it until it is flushed.
type printer struct {
	r *reader
	w *bufio.Writer
}

func (p *printer) print(s string) { _, _ = p.w.WriteString(s) }

func (p *printer) line(indent int) {
	p.print("\n")
	for range indent {
		p.print("  ")
	}
}

// item prints one item; embedded says that a byte string holds CBOR.
func (p *printer) item(indent int, embedded bool) {
	at := p.r.off
	switch major, n := p.r.head(); major {
	case majorUint:
		p.print(strconv.FormatUint(n, 10))
	case majorNegative:
		p.print(negative(n))
	case majorBytes:
		p.bytes(p.r.take(at, n), indent, embedded)
	case majorText:
		p.print(quote(string(p.r.take(at, n))))
	case majorArray:
		p.array(n, indent, false)
	case majorMap:
		p.object(n, indent)
	case majorTag:
		p.print(strconv.FormatUint(n, 10) + "(")
		if n == tagSign1 && p.r.peek() == majorArray {
			_, n := p.r.head()
			p.array(n, indent, true)
		} else {
			p.item(indent, n == TagCoMID || n == TagCoSWID || n == TagCoTL)
		}
		p.print(")")
	case majorSimple:
		p.print(simple(p.r.b[at]&31, n))
	}
}

// negative returns -1-n in decimal.
func negative(n uint64) string {
	if n == math.MaxUint64 {
		return "-18446744073709551616"
	}
	return "-" + strconv.FormatUint(n+1, 10)
}

// bytes prints a byte string, or what is encoded in it.
func (p *printer) bytes(b []byte, indent int, embedded bool) {
	if embedded && len(b) > 0 {
		in := p.r.within(b, p.r.off-len(b))
		if in.err == nil {
			p.print("<<")
			q := printer{r: in, w: p.w}
			q.item(indent, false)
			p.print(">>")
			return
		}
	}
	p.print("h'" + hex.EncodeToString(b) + "'")
}

// array prints an array; in a COSE_Sign1 the protected header and the payload hold CBOR.
func (p *printer) array(n uint64, indent int, sign1 bool) {
	flat := n <= 2 && !sign1 && p.scalars(n)
	p.print("[")
	for i := range n {
		if i > 0 {
			p.print(",")
		}
		switch {
		case !flat:
			p.line(indent + 1)
		case i > 0:
			p.print(" ")
		}
		p.item(indent+1, sign1 && (i == 0 || i == 2))
	}
	if n > 0 && !flat {
		p.line(indent)
	}
	p.print("]")
}

// scalars reports whether the next n items hold no others, so that they fit one line.
func (p *printer) scalars(n uint64) bool {
	r := *p.r
	for range n {
		if m := r.peek(); m == majorArray || m == majorMap || m == majorTag {
			return false
		}
		r.raw()
	}
	return true
}

func (p *printer) object(n uint64, indent int) {
	p.print("{")
	for i := range n {
		if i > 0 {
			p.print(",")
		}
		p.line(indent + 1)
		p.item(indent+1, false)
		p.print(": ")
		p.item(indent+1, false)
	}
	if n > 0 {
		p.line(indent)
	}
	p.print("}")
}

// quote returns text as a JSON string, in which what a terminal would act on is escaped.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case strconv.IsPrint(c):
			b.WriteRune(c)
		case c > 0xffff:
			c -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// simple returns a simple value or floating-point number.
func simple(info byte, n uint64) string {
	switch info {
	case 20:
		return "false"
	case 21:
		return "true"
	case 22:
		return "null"
	case 23:
		return "undefined"
	case 25:
		return float(float16(uint16(n))) + "_1"
	case 26:
		return float(float64(math.Float32frombits(uint32(n)))) + "_2"
	case 27:
		return float(math.Float64frombits(n)) + "_3"
	}
	return fmt.Sprintf("simple(%d)", n)
}

func float(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// float16 decodes half precision (RFC 8949, appendix D).
func float16(h uint16) float64 {
	exponent, fraction := int(h>>10&31), float64(h&0x3ff)
	f := math.Ldexp(fraction+1024, exponent-25)
	switch exponent {
	case 0:
		f = math.Ldexp(fraction, -24)
	case 31:
		if f = math.Inf(1); fraction != 0 {
			f = math.NaN()
		}
	}
	if h>>15 == 1 {
		f = -f
	}
	return f
}
