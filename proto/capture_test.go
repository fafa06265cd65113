package proto

import (
	"strings"
	"testing"
)

func init() {
	golden = append(golden, captureGolden...)
}

var captureGolden = []struct {
	name  string
	m     Message
	bytes string
}{
	{"capture request", &CaptureRequest{Nonce: fill(0x11, 32), Region: "bios", Banks: []uint16{11}, PCRs: 0x1f}, `
a4 // map of 4
  01 // key 1: Nonce
    5820 11*32 // 32 bytes
  02 // key 2: Region
    64 62696f73 // text "bios"
  05 // key 5: Banks
    81 // array of 1
      0b // 11
  06 // key 6: PCRs
    181f // 31
`},
	{"capture request, resumed", &CaptureRequest{
		Nonce: fill(0x11, 32), Region: "bios", Offset: 4096, Length: 131072, Banks: []uint16{11, 12}, PCRs: 0x1f,
		Held: 65536, Prefix: fill(0x22, 32),
	}, `
a8 // map of 8
  01 // key 1: Nonce
    5820 11*32 // 32 bytes
  02 // key 2: Region
    64 62696f73 // text "bios"
  03 // key 3: Offset
    191000 // 4096
  04 // key 4: Length
    1a00020000 // 131072
  05 // key 5: Banks
    82 // array of 2
      0b // 11
      0c // 12
  06 // key 6: PCRs
    181f // 31
  07 // key 7: Held
    1a00010000 // 65536
  08 // key 8: Prefix
    5820 22*32 // 32 bytes
`},
	{"capture starts", &CaptureUp{Nonce: fill(0x11, 32), Start: &CaptureStart{Size: 131072, Source: "mtd:bios", From: 65536}}, `
a2 // map of 2
  01 // key 1: Nonce
    5820 11*32 // 32 bytes
  02 // key 2: Start
    a3 // map of 3
      01 // key 1: Size
        1a00020000 // 131072
      02 // key 2: Source
        68 6d74643a62696f73 // text "mtd:bios"
      03 // key 3: From
        1a00010000 // 65536
`},
	{"capture piece", &CaptureUp{Nonce: fill(0x11, 32), Piece: &CapturePiece{Offset: 0, Data: []byte{1, 2, 3}}}, `
a2 // map of 2
  01 // key 1: Nonce
    5820 11*32 // 32 bytes
  03 // key 3: Piece
    a2 // map of 2
      01 // key 1: Offset
        00 // 0
      02 // key 2: Data
        43 010203 // 3 bytes
`},
	{"capture refused", &CaptureUp{Nonce: fill(0x11, 32), Refused: &Unavailable{Cause: CauseNotAllowed, Reason: "charter"}}, `
a2 // map of 2
  01 // key 1: Nonce
    5820 11*32 // 32 bytes
  04 // key 4: Refused
    a2 // map of 2
      01 // key 1: Cause
        6b 6e6f742d616c6c6f776564 // text "not-allowed"
      02 // key 2: Reason
        67 63686172746572 // text "charter"
`},
	{"capture ends", &CaptureUp{Nonce: fill(0x11, 32), End: &CaptureEnd{
		Statement: []byte{0xa0}, Quote: []byte{0xff, 0x54, 0x43, 0x47}, Signature: []byte{0, 0x18},
	}}, `
a2 // map of 2
  01 // key 1: Nonce
    5820 11*32 // 32 bytes
  05 // key 5: End
    a3 // map of 3
      01 // key 1: Statement
        41 a0 // 1 bytes
      02 // key 2: Quote
        44 ff544347 // 4 bytes
      03 // key 3: Signature
        42 0018 // 2 bytes
`},
	{"capture statement", &CaptureStatement{
		Region: "bios", Source: "mtd:bios", Offset: 4096, Size: 131072, Digest: digest(0x33),
		Bad: []FlashRange{{Offset: 65536, Length: 65536}}, Chip: "ef4018", BootID: fill(0x44, 16),
	}, `
a8 // map of 8
  01 // key 1: Region
    64 62696f73 // text "bios"
  02 // key 2: Source
    68 6d74643a62696f73 // text "mtd:bios"
  03 // key 3: Offset
    191000 // 4096
  04 // key 4: Size
    1a00020000 // 131072
  05 // key 5: Digest
    5820 33*32 // 32 bytes
  06 // key 6: Bad
    81 // array of 1
      a2 // map of 2
        01 // key 1: Offset
          1a00010000 // 65536
        02 // key 2: Length
          1a00010000 // 65536
  07 // key 7: Chip
    66 656634303138 // text "ef4018"
  08 // key 8: BootID
    50 44*16 // 16 bytes
`},
}

func TestCaptureRules(t *testing.T) {
	nonce := fill(1, NonceSize)
	request := func(change func(*CaptureRequest)) *CaptureRequest {
		m := &CaptureRequest{Nonce: nonce, Region: "bios", Banks: []uint16{11}, PCRs: 1}
		change(m)
		return m
	}
	up := func(change func(*CaptureUp)) *CaptureUp {
		m := &CaptureUp{Nonce: nonce}
		change(m)
		return m
	}
	statement := func(change func(*CaptureStatement)) *CaptureStatement {
		m := &CaptureStatement{Region: "bios", Size: 4096, BootID: fill(2, BootIDSize)}
		change(m)
		return m
	}
	long := strings.Repeat("a", MaxText+1)
	for _, tt := range []struct {
		m    Message
		want string
	}{
		{request(func(m *CaptureRequest) { m.Nonce = nonce[1:] }), "nonce (1)"},
		{request(func(m *CaptureRequest) { m.Region = "" }), "region (2)"},
		{request(func(m *CaptureRequest) { m.Region = long }), "region (2)"},
		{request(func(m *CaptureRequest) { m.Region = "\xff" }), "UTF-8"},
		{request(func(m *CaptureRequest) { m.Offset, m.Length = 1<<64-1, 2 }), "length (4)"},
		{request(func(m *CaptureRequest) { m.Length = MaxCapture + 1 }), "length (4)"},
		{request(func(m *CaptureRequest) { m.Banks = nil }), "banks (5)"},
		{request(func(m *CaptureRequest) { m.Banks = make([]uint16, 5) }), "banks (5)"},
		{request(func(m *CaptureRequest) { m.PCRs = 0 }), "pcrs (6)"},
		{request(func(m *CaptureRequest) { m.PCRs = 1 << NumPCRs }), "pcrs (6)"},
		{request(func(m *CaptureRequest) { m.Held = 1 }), "go together"},
		{request(func(m *CaptureRequest) { m.Prefix = nonce }), "go together"},
		{request(func(m *CaptureRequest) { m.Held, m.Prefix = MaxCapture+1, nonce }), "held (7)"},
		{request(func(m *CaptureRequest) { m.Held, m.Prefix = 1, nonce[1:] }), "prefix (8)"},
		{up(func(*CaptureUp) {}), "exactly one"},
		{up(func(m *CaptureUp) { m.Nonce = nil }), "nonce (1)"},
		{up(func(m *CaptureUp) { m.Start, m.Refused = &CaptureStart{Size: 1}, &Unavailable{Cause: CauseIO} }), "exactly one"},
		{up(func(m *CaptureUp) { m.Start = &CaptureStart{} }), "start: 0 bytes"},
		{up(func(m *CaptureUp) { m.Start = &CaptureStart{Size: 8, From: 9} }), "8 bytes from 9 on"},
		{up(func(m *CaptureUp) { m.Start = &CaptureStart{Size: MaxCapture + 1} }), "start.size (1)"},
		{up(func(m *CaptureUp) { m.Start = &CaptureStart{Size: 1, Source: long} }), "start.source (2)"},
		{up(func(m *CaptureUp) { m.Piece = &CapturePiece{} }), "piece.data (2)"},
		{up(func(m *CaptureUp) { m.Piece = &CapturePiece{Data: make([]byte, ChunkSize+1)} }), "piece.data (2)"},
		{up(func(m *CaptureUp) { m.Piece = &CapturePiece{Offset: MaxCapture, Data: nonce} }), "piece.offset (1)"},
		{up(func(m *CaptureUp) { m.Refused = &Unavailable{Cause: "mood"} }), "unknown cause"},
		{up(func(m *CaptureUp) { m.End = &CaptureEnd{Signature: nonce} }), "end.statement (1)"},
		{up(func(m *CaptureUp) { m.End = &CaptureEnd{Statement: nonce} }), "end.signature (3)"},
		{up(func(m *CaptureUp) {
			m.End = &CaptureEnd{Statement: nonce, Signature: nonce, Quote: make([]byte, maxAttest+1)}
		}), "end.quote (2)"},
		{statement(func(m *CaptureStatement) { m.Region = "" }), "region (1)"},
		{statement(func(m *CaptureStatement) { m.Size = 0 }), "size (4)"},
		{statement(func(m *CaptureStatement) { m.Size = MaxCapture + 1 }), "size (4)"},
		{statement(func(m *CaptureStatement) { m.Source = long }), "source (2)"},
		{statement(func(m *CaptureStatement) { m.Chip = long }), "chip (7)"},
		{statement(func(m *CaptureStatement) { m.BootID = nil }), "boot-id (8)"},
		{statement(func(m *CaptureStatement) { m.Bad = []FlashRange{{Offset: 4096, Length: 1}} }), "bad (6)"},
		{statement(func(m *CaptureStatement) { m.Bad = make([]FlashRange, MaxFlashRanges+1) }), "bad (6)"},
	} {
		if _, err := Encode(tt.m); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Encode(%+v) = %v, want an error about %q", tt.m, err, tt.want)
		}
	}
	piece := up(func(m *CaptureUp) {
		m.Piece = &CapturePiece{Offset: MaxCapture - ChunkSize, Data: make([]byte, ChunkSize)}
	})
	if b, err := Encode(piece); err != nil || len(b) > MaxMessage {
		t.Errorf("the largest piece has %d bytes, %v, want at most %d", len(b), err, MaxMessage)
	}
}

// TestCaptureBinding: neither nonce nor statement can be exchanged, and evidence cannot pass for a capture.
func TestCaptureBinding(t *testing.T) {
	nonce, statement := fill(1, NonceSize), []byte("statement")
	seen := map[Digest]string{QualifyingData(nonce, statement): "evidence"}
	for name, d := range map[string]Digest{
		"as it is":          CaptureQualifyingData(nonce, statement),
		"another nonce":     CaptureQualifyingData(fill(2, NonceSize), statement),
		"another statement": CaptureQualifyingData(nonce, []byte("statemenT")),
	} {
		if other := seen[d]; other != "" {
			t.Errorf("%s has the qualifying data of %s", name, other)
		}
		seen[d] = name
	}
}
