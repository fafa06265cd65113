package eventlog

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

func TestParse(t *testing.T) {
	l := mustParse(t, buildLog(locality(3), secureBootRecord(1), record{pcr: 0xffffffff, typ: NoAction, data: []byte("x")}))
	if l.Format != FormatTCG2 || l.Spec == nil || l.Spec.Major != 2 || l.Spec.UintnSize != 2 || l.Padding != 0 {
		t.Errorf("log = %+v", l)
	}
	if diff := cmp.Diff([]pcr.Algorithm{pcr.SHA1, pcr.SHA256}, l.Banks); diff != "" {
		t.Error(diff)
	}
	if len(l.Events) != 3 || l.Events[0].Number != 1 || l.Events[2].PCR != 0xffffffff {
		t.Fatalf("events = %+v", l.Events)
	}
	e := l.Events[1]
	want := secureBootRecord(1)
	if e.PCR != 7 || e.Type != EFIVariableDriverConfig || !bytes.Equal(e.Data, want.data) {
		t.Errorf("event = %+v", e)
	}
	for _, a := range []pcr.Algorithm{pcr.SHA1, pcr.SHA256} {
		if !bytes.Equal(e.Digest(a), want.digest(a)) {
			t.Errorf("Digest(%s) = %x, want %x", a, e.Digest(a), want.digest(a))
		}
	}
	if e.Digest(pcr.SHA384) != nil || (&Event{}).Digest(pcr.SHA1) != nil {
		t.Error("Digest of a bank that the log lacks is not nil")
	}
}

func TestParse12(t *testing.T) {
	raw := build12(record{pcr: 0, typ: SCRTMVersion, data: []byte("1")}, secureBootRecord(0))
	l := mustParse(t, raw)
	if l.Format != FormatTCG12 || l.Spec != nil || len(l.Events) != 2 || l.Events[0].Number != 0 || l.Events[1].Offset != 33 {
		t.Fatalf("log = %+v", l)
	}
	want := secureBootRecord(0)
	if !bytes.Equal(l.Events[1].Digest(pcr.SHA1), want.digest(pcr.SHA1)) || l.Events[1].Digest(pcr.SHA256) != nil {
		t.Error("wrong digests")
	}
	spec := record{typ: NoAction, data: []byte("Spec ID Event02\x00rest")}
	if l := mustParse(t, build12(spec, want)); l.Format != FormatTCG12 || len(l.Events) != 2 {
		t.Errorf("log with a Spec ID event of TPM 1.2 = %+v", l)
	}
}

// Zeros after the last event are padding and make no events; anything else is an error.
func TestPadding(t *testing.T) {
	raw, quoted := genuine(t, "uki")
	n := len(mustParse(t, raw).Events)
	for _, pad := range []int{1, 2, 11, 12, 31, 32, 64, 4096, 1 << 20} {
		l := mustParse(t, append(bytes.Clone(raw), make([]byte, pad)...))
		if len(l.Events) != n || l.Padding != pad {
			t.Errorf("%d zeros: %d events and padding %d, want %d and %d", pad, len(l.Events), l.Padding, n, pad)
		}
		if _, err := l.Verify(quoted); err != nil {
			t.Errorf("%d zeros: %v", pad, err)
		}
		for _, tail := range []byte{1, 0xff} {
			if l, err := Parse(append(append(bytes.Clone(raw), make([]byte, pad)...), tail)); err == nil {
				t.Errorf("%d zeros and %#x: %d events, want an error", pad, tail, len(l.Events))
			}
		}
	}
	small := build12(secureBootRecord(1), record{pcr: 7, typ: Separator, data: []byte{0, 0, 0, 0}})
	l := mustParse(t, append(small, make([]byte, 640)...))
	if len(l.Events) != 2 || l.Padding != 640 {
		t.Errorf("TPM 1.2: %d events, padding %d", len(l.Events), l.Padding)
	}
}

func TestParseErrors(t *testing.T) {
	header := specHeader(pcr.SHA256)
	sep := buildRecord(record{pcr: 1, typ: Separator, data: []byte{0, 0, 0, 0}}, pcr.SHA256)
	edit := func(b []byte, at int, v ...byte) []byte {
		c := bytes.Clone(b)
		copy(c[at:], v)
		return c
	}
	log := join(header, sep)
	h := len(header)
	double := join(le32(1), le32(4), le32(2), le16(0xb), make([]byte, 32), le16(0xb), make([]byte, 32), le32(1), []byte{1})
	tests := []struct {
		name   string
		log    []byte
		want   string
		offset int
	}{
		{"empty", nil, "empty", 0},
		{"zeros", make([]byte, 100), "empty", 0},
		{"short", []byte{1, 2, 3}, "cut off", 0},
		{"too large", make([]byte, MaxSize+1), "exceed", 0},
		{"unknown spec", edit(log, 32+14, '4'), "unknown version", 32},
		{"header of PCR 1", edit(log, 0, 1), "must be an EV_NO_ACTION", 0},
		{"header type", edit(log, 4, 1), "must be an EV_NO_ACTION", 0},
		{"header digest", edit(log, 8, 1), "must be an EV_NO_ACTION", 0},
		{"no algorithms", edit(log, 32+24, 0), "0 algorithms", 32 + 24},
		{"many algorithms", edit(log, 32+24, 17), "17 algorithms", 32 + 24},
		{"header too short", edit(log, 32+24, 2), "too short", 32 + 28},
		{"header size of sha256", edit(log, 32+30, 20), "gives sha256 digests 20 bytes", 32 + 28},
		{"header size zero", edit(log, 32+28, 0x99, 0, 0, 0), "digests 0 bytes", 32 + 28},
		{"vendor size", edit(log, 32+32, 1), "vendor information", 32 + 32},
		{"algorithm twice", specHeader(pcr.SHA1, pcr.SHA1), "twice", 32 + 32},
		{"no digest", edit(log, h+8, 0), "0 digests", h + 8},
		{"many digests", edit(log, h+8, 2), "2 digests", h + 8},
		{"undeclared", edit(log, h+12, 4), "does not declare", h + 12},
		{"digest twice", join(specHeader(pcr.SHA1, pcr.SHA256), double), "second sha256 digest", len(specHeader(pcr.SHA1, pcr.SHA256)) + 46},
		{"PCR 24", edit(log, h, 24), "want a PCR below 24", h},
		{"PCR ffffffff", edit(log, h, 0xff, 0xff, 0xff, 0xff), "want a PCR below 24", h},
		{"data size", edit(log, h+46, 5), "event data of 5 bytes, 4 left", h + 46},
		{"data size huge", edit(log, h+46, 0xff, 0xff, 0xff, 0xff), "event data of 4294967295 bytes", h + 46},
		{"trailing bytes", append(bytes.Clone(log), 1, 2, 3), "cut off", len(log)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Parse(tt.log)
			var e *ParseError
			if l != nil || !errors.As(err, &e) {
				t.Fatalf("Parse = %v, %v, want a ParseError", l, err)
			}
			if !strings.Contains(err.Error(), tt.want) || e.Offset != tt.offset {
				t.Errorf("error %q at %d, want %q at %d", err, e.Offset, tt.want, tt.offset)
			}
		})
	}
}

// No prefix of a genuine log that ends inside a record is a log.
func TestTruncated(t *testing.T) {
	for name, raw := range captured(t) {
		ends := map[int]bool{}
		l := mustParse(t, raw)
		for i := range l.Events {
			ends[l.Events[i].Offset] = true
		}
		for n := range raw {
			cut, err := Parse(raw[:n])
			if err == nil && !ends[n] && cut.Padding == 0 {
				t.Errorf("%s: the first %d bytes are a log", name, n)
			}
		}
	}
}

// Giant logs fail fast and hold little memory: 16 MiB of whatever, and as many empty events as fit into the allowed
// size.
func TestGiantLogs(t *testing.T) {
	empty := buildRecord(record{pcr: 1, typ: Separator}, pcr.SHA256)
	empty12 := build12(record{pcr: 1, typ: Separator})
	tests := map[string][]byte{
		"16 MiB of empty events":   append(specHeader(pcr.SHA256), bytes.Repeat(empty, 16<<20/len(empty))...),
		"4 MiB of empty events":    append(specHeader(pcr.SHA256), bytes.Repeat(empty, 4<<20/len(empty)-2)...),
		"4 MiB in TPM 1.2 format":  bytes.Repeat(empty12, 4<<20/len(empty12)),
		"4 MiB of zeros, one byte": append(build12(record{pcr: 1, typ: Separator, data: []byte{1}}), append(make([]byte, 3<<20), 1)...),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l, err := Parse(raw)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Errorf("accepted %d events", len(l.Events))
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
				t.Errorf("allocated %d bytes to refuse the log", got)
			}
		})
	}
}

// A log of as many events as are allowed is read.
func TestMaxEvents(t *testing.T) {
	one := buildRecord(record{pcr: 1, typ: EFIAction, data: []byte("a")}, pcr.SHA256)
	l := mustParse(t, append(specHeader(pcr.SHA256), bytes.Repeat(one, MaxEvents)...))
	if len(l.Events) != MaxEvents {
		t.Errorf("%d events, want %d", len(l.Events), MaxEvents)
	}
	raw, _ := genuine(t, "grub-secure-boot")
	if allocs := testing.AllocsPerRun(10, func() {
		if _, err := Parse(raw); err != nil {
			t.Fatal(err)
		}
	}); allocs > 10 {
		t.Errorf("Parse allocates %.0f times, want a few", allocs)
	}
}
