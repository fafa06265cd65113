package proto

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestDecodeRefuses holds one line for each way in which an encoding may be wrong.
func TestDecodeRefuses(t *testing.T) {
	nonce := " 5820 11*32 "
	digest := " 5820 dd*32 "
	for _, tt := range []struct {
		name, listing string
		m             Message
		want          string // part of the error
	}{
		{"empty", "", &State{}, "EOF"},
		{"no map", "01", &State{}, "cannot unmarshal"},
		{"array instead of map", "82 01 60", &State{}, ""},
		{"cut short", "a2 01 01 02 65 31", &State{}, "EOF"},
		{"trailing byte", "a2 01 01 02 60 00", &State{}, "extraneous"},
		{"duplicate key", "a3 01 01 01 01 02 60", &State{}, "duplicate"},
		{"duplicate PCR", "a5 01" + nonce + "02 41 a0 03 41 00 04 41 00 05 a2 00 5820 aa*32 00 5820 bb*32", &Evidence{}, "duplicate"},
		{"unknown key", "a3 01 01 02 60 03 00", &State{}, "unknown"},
		{"text as key", "a2 61 31 01 02 60", &State{}, ""},
		{"keys out of order", "a2 02 60 01 01", &State{}, ErrNotDeterministic.Error()},
		{"long form of a number", "a2 01 1801 02 60", &State{}, ErrNotDeterministic.Error()},
		{"long form of a length", "a2 01 01 02 7801 31", &State{}, ErrNotDeterministic.Error()},
		{"indefinite map", "bf 01 01 02 60 ff", &State{}, "indefinite"},
		{"indefinite text", "a2 01 01 02 7f 61 31 ff", &State{}, "indefinite"},
		{"tag", "c1 a2 01 01 02 60", &State{}, "tag"},
		{"tag inside", "a2 01 c1 01 02 60", &State{}, "tag"},
		{"null for a value", "a2 01 01 02 f6", &State{}, ErrNotDeterministic.Error()},
		{"undefined", "f7", &State{}, ""},
		{"float", "a2 01 f93c00 02 60", &State{}, ""},
		{"negative", "a2 01 20 02 60", &State{}, ""},
		{"number too large", "a2 01 190101 02 60", &State{}, ""},
		{"bytes instead of text", "a2 01 01 02 40", &State{}, ""},
		{"text instead of bytes", "a4 01 " + strings.Replace(nonce, "5820", "7820", 1) + "02 81 0b 03 01 04 01", &Challenge{}, ""},
		{"invalid UTF-8", "a2 01 01 02 61 ff", &State{}, "UTF-8"},
		{"missing key", "a1 01 01", &State{}, ErrNotDeterministic.Error()},
		{"empty optional", "a5 01" + nonce + "02 81 0b 03 01 04 01 05 40", &Challenge{}, ErrNotDeterministic.Error()},
		{"short digest", "a2 01 581f dd*31 02 81" + digest, &Want{}, ErrNotDeterministic.Error()},
		{"long digest", "a2 01 5821 dd*33 02 81" + digest, &Want{}, ErrNotDeterministic.Error()},
		{"digest as array", "a2 01 9820 01*32 02 81" + digest, &Want{}, ErrNotDeterministic.Error()},
		{"nested too deeply", "a2 01" + digest + "02" + " 81*40 01", &Want{}, "nested"},
		{"huge array announced", "a2 01" + digest + "02 9affffffff", &Want{}, ""},
		{"huge text announced", "a2 01 01 02 7affffffff", &State{}, "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Decode(annotated(t, tt.listing), tt.m)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode = %v, want %q in it", err, tt.want)
			}
		})
	}
}

// TestRules holds one line for each rule that the types alone do not state. The two sides share them: what Decode
// refuses, Encode does not send.
func TestRules(t *testing.T) {
	nonce := fill(1, NonceSize)
	challenge := func(change func(*Challenge)) *Challenge {
		m := &Challenge{Nonce: nonce, Banks: []uint16{11}, PCRs: 1, Lifetime: 1}
		change(m)
		return m
	}
	evidence := func(change func(*Evidence)) *Evidence {
		m := &Evidence{Nonce: nonce, Claims: []byte{0xa0}, Quote: []byte{1}, Signature: []byte{1}, PCRs: map[uint32][]byte{}}
		change(m)
		return m
	}
	claims := func(change func(*Claims)) *Claims {
		none := Item{Unavailable: &Unavailable{Cause: CauseNotFound}}
		m := &Claims{BootID: fill(2, BootIDSize), BootLog: none, Platform: none}
		change(m)
		return m
	}
	key := &CertifiedKey{Public: []byte{1}, Attest: []byte{1}, Signature: []byte{1}}
	hello := func(change func(*Hello)) *Hello {
		m := &Hello{EKPublic: []byte{1}, AK: key, TLS: key}
		change(m)
		return m
	}
	tamper := func(lines ...TamperLine) *Claims { return claims(func(m *Claims) { m.Tamper = lines }) }
	region := func(change func(*FlashRegion)) *Flash {
		r := FlashRegion{Name: "bios", Source: "mtd:bios", Length: 4096, Digest: fill(3, 32)}
		change(&r)
		return &Flash{Regions: []FlashRegion{r}}
	}
	device := BusDevice{Bus: "pci", Address: "00:1f.0"}
	item := func(size uint32) Item { return Item{Content: &Content{Size: size}} }
	many := func(n int) [][]byte { return bytesOf(n, []byte{1}) }
	for _, tt := range []struct {
		m    Message
		want string
	}{
		{&State{Kind: 3}, "kind (1)"},
		{&State{Kind: 1, Agent: strings.Repeat("a", MaxText+1)}, "agent (2)"},
		{&State{Kind: 1, Agent: "\xff"}, "UTF-8"},
		{challenge(func(m *Challenge) { m.Nonce = nonce[1:] }), "nonce (1)"},
		{challenge(func(m *Challenge) { m.Banks = nil }), "banks (2)"},
		{challenge(func(m *Challenge) { m.Banks = make([]uint16, 5) }), "banks (2)"},
		{challenge(func(m *Challenge) { m.PCRs = 0 }), "pcrs (3)"},
		{challenge(func(m *Challenge) { m.PCRs = 1 << NumPCRs }), "pcrs (3)"},
		{challenge(func(m *Challenge) { m.Lifetime = 0 }), "lifetime (4)"},
		{challenge(func(m *Challenge) { m.BootID = nonce }), "boot-id (5)"},
		{challenge(func(m *Challenge) { m.IMAFrom = 1 }), "ima-from (6)"},
		{challenge(func(m *Challenge) { m.PCRBase = nonce }), "pcr-base (7)"},
		{evidence(func(m *Evidence) { m.Nonce = nil }), "nonce (1)"},
		{evidence(func(m *Evidence) { m.Claims = nil }), "claims (2)"},
		{evidence(func(m *Evidence) { m.Claims = make([]byte, MaxClaims+1) }), "claims (2)"},
		{evidence(func(m *Evidence) { m.Quote = make([]byte, maxAttest+1) }), "quote (3)"},
		{evidence(func(m *Evidence) { m.Signature = nil }), "signature (4)"},
		{evidence(func(m *Evidence) { m.PCRs[NumPCRs] = fill(1, 32) }), "no PCR 24"},
		{evidence(func(m *Evidence) { m.PCRs[0] = fill(1, 64) }), "PCR 0"},
		{evidence(func(m *Evidence) { m.PCRs[0], m.PCRs[1] = fill(1, 32), fill(1, 48) }), "two banks"},
		{evidence(func(m *Evidence) { m.Quote, m.PCRs[0] = nil, fill(1, 32) }), "without a quote"},
		{evidence(func(m *Evidence) { m.Quote, m.IMA = nil, &IMASegment{} }), "without a quote"},
		{evidence(func(m *Evidence) { m.PCRBase = nonce }), "pcr-base (6)"},
		{evidence(func(m *Evidence) { m.IMA = &IMASegment{Count: 1} }), "ima (7)"},
		{evidence(func(m *Evidence) { m.IMA = &IMASegment{Count: 1, Part: Content{Size: MaxIMASegment + 1}} }), "ima (7)"},
		{claims(func(m *Claims) { m.BootID = nil }), "boot-id (2)"},
		{claims(func(m *Claims) { m.BootLog = Item{} }), "boot-log (4)"},
		{claims(func(m *Claims) { m.BootLog = item(0) }), "empty content"},
		{claims(func(m *Claims) { m.BootLog = item(MaxBootLog + 1) }), "boot-log (4)"},
		{claims(func(m *Claims) { m.BootLog.Content = &Content{Size: 1} }), "either"},
		{claims(func(m *Claims) { m.BootLog.Unavailable.Cause = "mood" }), "unknown cause"},
		{claims(func(m *Claims) { m.Platform = item(MaxPlatform + 1) }), "platform (6)"},
		{claims(func(m *Claims) {
			m.IMA = IMAStatus{Count: 1, Unavailable: &Unavailable{Cause: CauseIO}}
		}), "ima (5)"},
		{claims(func(m *Claims) {
			m.IMA.Unavailable = &Unavailable{Cause: CauseIO, Reason: strings.Repeat("a", MaxReason+1)}
		}), "ima (5)"},
		{claims(func(m *Claims) { m.Flash = &FlashStatus{} }), "flash (7)"},
		{claims(func(m *Claims) { m.Flash = &FlashStatus{Regions: item(MaxFlash + 1)} }), "flash (7)"},
		{tamper(make([]TamperLine, MaxTamperLines+1)...), "at most 8"},
		{tamper(TamperLine{State: TamperOpen}), "no name"},
		{tamper(TamperLine{Name: "lid", State: 1}, TamperLine{Name: "lid", State: 1}), "name of its own"},
		{tamper(TamperLine{Name: "lid", State: 3}), "unknown state"},
		{tamper(TamperLine{Name: "lid"}), "either"},
		{tamper(TamperLine{Name: "lid", State: 1, Unavailable: &Unavailable{Cause: CauseIO}}), "either"},
		{tamper(TamperLine{Name: "lid", Openings: 1, Unavailable: &Unavailable{Cause: CauseIO}}), "openings"},
		{tamper(TamperLine{Name: strings.Repeat("a", MaxText+1), State: 1}), "tamper (8)"},
		{&Flash{}, "regions (1)"},
		{&Flash{Regions: make([]FlashRegion, MaxFlashRegions+1)}, "want 1 to 128"},
		{region(func(r *FlashRegion) { r.Name = "" }), "no name"},
		{region(func(r *FlashRegion) { r.Digest = nil }), "either"},
		{region(func(r *FlashRegion) { r.Unavailable = &Unavailable{Cause: CauseIO} }), "either"},
		{region(func(r *FlashRegion) { r.Digest = fill(3, 20) }), "digest (5)"},
		{region(func(r *FlashRegion) { r.Length = 0 }), "length (4)"},
		{region(func(r *FlashRegion) { r.Offset = 1<<64 - 1 }), "every address"},
		{region(func(r *FlashRegion) { r.Excluded = []FlashRange{{Offset: 1}} }), "excluded (6)"},
		{region(func(r *FlashRegion) { r.Excluded = []FlashRange{{Offset: 4090, Length: 7}} }), "after the region"},
		{region(func(r *FlashRegion) { r.Excluded = []FlashRange{{Length: 7}, {Offset: 7, Length: 1}} }), "touches"},
		{region(func(r *FlashRegion) { r.Excluded = []FlashRange{{Offset: 1<<64 - 1, Length: 2}} }), "excluded (6)"},
		{region(func(r *FlashRegion) { r.Bad = make([]FlashRange, MaxFlashRanges+1) }), "bad (7)"},
		{&Flash{Regions: append(region(func(*FlashRegion) {}).Regions, region(func(*FlashRegion) {}).Regions...)}, "ascending"},
		{&Platform{Devices: make([]BusDevice, MaxDevices+1)}, "devices (14)"},
		{&Platform{Devices: []BusDevice{{Bus: "pci"}}}, "no address"},
		{&Platform{Devices: []BusDevice{device, device}}, "ascending"},
		{&Platform{Devices: []BusDevice{device, {Bus: "i2c", Address: "0-50"}}}, "ascending"},
		{&Platform{Devices: []BusDevice{{Bus: "pci", Address: "0", Name: strings.Repeat("a", MaxText+1)}}}, "devices (14)"},
		{&Want{}, "contents (2)"},
		{&Want{Contents: make([]Digest, 9)}, "contents (2)"},
		{&Chunk{Size: 1}, "data (4)"},
		{&Chunk{Size: MaxIMASegment + 1, Data: []byte{1}}, "size (2)"},
		{&Chunk{Size: ChunkSize + 1, Data: make([]byte, ChunkSize+1)}, "data (4)"},
		{&Chunk{Size: 2, Offset: 1, Data: []byte{1, 2}}, "offset (3)"},
		{&Chunk{Size: 2, Offset: 1<<32 - 1, Data: []byte{1, 2}}, "offset (3)"},
		{&Receipt{}, "status (2)"},
		{&Receipt{Status: Rejected, Code: strings.Repeat("a", MaxText+1)}, "code (3)"},
		{&Receipt{Status: Appraised, Reasons: make([]string, MaxReasons+1)}, "reasons (5)"},
		{&Receipt{Status: Appraised, Reasons: []string{strings.Repeat("a", MaxReason+1)}}, "reasons (5)"},
		{&Platform{Vendor: strings.Repeat("a", MaxText+1)}, "platform"},
		{&Platform{CommandLine: strings.Repeat("a", 4097)}, "command-line (9)"},
		{&Platform{Firmware: make([]FirmwareVersion, 65)}, "firmware"},
		{&Platform{Firmware: []FirmwareVersion{{Class: strings.Repeat("a", MaxText+1)}}}, "firmware (12)"},
		{&Platform{Unavailable: map[string]string{"x": strings.Repeat("a", MaxReason+1)}}, "unavailable (13)"},
		{hello(func(m *Hello) { m.Software = []byte{1} }), "exactly one"},
		{hello(func(m *Hello) { m.EKPublic = nil }), "exactly one"},
		{hello(func(m *Hello) { m.AK = nil }), "ak (4)"},
		{hello(func(m *Hello) { m.EKPublic, m.Software = nil, []byte{1} }), "ak (4)"},
		{hello(func(m *Hello) { m.EKCertificates = many(MaxCertificates + 1) }), "ek-certificates (3)"},
		{hello(func(m *Hello) { m.EKCertificates = [][]byte{{}} }), "ek-certificates (3)"},
		{hello(func(m *Hello) { m.TLS = &CertifiedKey{} }), "tls (5).public"},
		{hello(func(m *Hello) { m.Platform = &Platform{Kernel: strings.Repeat("a", MaxText+1)} }), "platform (7)"},
		{&EnrollUp{}, "exactly one"},
		{&EnrollUp{Hello: []byte{1}, Proof: &EnrollProof{}}, "exactly one"},
		{&EnrollUp{Hello: []byte{1}, Token: strings.Repeat("a", MaxText+1)}, "token (3)"},
		{&EnrollUp{Proof: &EnrollProof{Hello: []byte{1}, Nonce: nonce}}, "proof.answer"},
		{&EnrollDown{}, "exactly one"},
		{&EnrollDown{Pending: &EnrollPending{}, Denied: &EnrollDenied{}}, "exactly one"},
		{&EnrollDown{Challenge: &EnrollChallenge{}}, "challenge.nonce"},
		{&EnrollDown{Certificate: &EnrollCertificate{}}, "certificate.chain"},
		{&EnrollDown{Certificate: &EnrollCertificate{Chain: many(MaxCertificates + 1)}}, "certificate.chain"},
		{&EnrollDown{Certificate: &EnrollCertificate{Chain: [][]byte{{}}}}, "certificate.chain"},
		{&EnrollDown{Pending: &EnrollPending{Message: strings.Repeat("a", MaxReason+1)}}, "pending.message"},
		{&EnrollDown{Denied: &EnrollDenied{Code: strings.Repeat("a", MaxText+1)}}, "denied.code"},
	} {
		if b, err := Encode(tt.m); err == nil || b != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Encode(%+v) = %x, %v, want %q in the error", tt.m, b, err, tt.want)
		}
		// A peer that does not check sends it all the same.
		b, err := encoding.Marshal(tt.m)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(b, blank(tt.m)); err == nil {
			t.Errorf("Decode of %+v succeeded", tt.m)
		}
	}
}

func bytesOf(n int, b []byte) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

func TestSizes(t *testing.T) {
	chunk := &Chunk{Size: MaxIMASegment, Offset: MaxIMASegment - ChunkSize, Data: make([]byte, ChunkSize)}
	b, err := Encode(chunk)
	if err != nil || len(b) > MaxMessage {
		t.Errorf("the largest chunk has %d bytes, %v, want at most %d", len(b), err, MaxMessage)
	}
	certificates := bytesOf(MaxCertificates, make([]byte, MaxCertificate))
	if b, err := Encode(&EnrollDown{Certificate: &EnrollCertificate{Chain: certificates}}); err != nil || len(b) > MaxMessage {
		t.Errorf("the largest chain has %d bytes, %v, want at most %d", len(b), err, MaxMessage)
	}
	hello := &Hello{EKPublic: []byte{1}, AK: &CertifiedKey{[]byte{1}, nil, []byte{1}, []byte{1}}, EKCertificates: certificates}
	hello.TLS, hello.Platform = hello.AK, &Platform{Unavailable: map[string]string{}}
	for i := range 32 {
		hello.Platform.Unavailable[fmt.Sprint(i)] = strings.Repeat("a", MaxReason)
	}
	if _, err := Encode(hello); err == nil || !strings.Contains(err.Error(), "at most 73728 allowed") {
		t.Errorf("Encode of an oversized hello = %v", err)
	}
	if err := Decode(make([]byte, MaxMessage+1), &State{}); err == nil || !strings.Contains(err.Error(), "at most 73728 allowed") {
		t.Errorf("Decode of an oversized message = %v", err)
	}
}

// TestSteadyState checks the size that the design promises: an unchanged device with everything
// that the protocol knows, P-256, one new IMA entry.
func TestSteadyState(t *testing.T) {
	claims, err := Encode(&Claims{
		Agent: "1.10.2-rc1+20261122", BootID: fill(1, BootIDSize), Bank: 11,
		BootLog:  Item{Content: &Content{Digest: digest(2), Size: 35000}},
		IMA:      IMAStatus{Count: 100_000},
		Platform: Item{Content: &Content{Digest: digest(3), Size: 900}},
		Flash:    &FlashStatus{Regions: Item{Content: &Content{Digest: digest(10), Size: 2000}}, Age: 3000},
		Tamper:   []TamperLine{{Name: "enclosure", State: TamperClosed}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// 145 bytes have quotes over one bank by a P-256 AK with SHA-256, 72 their TPMT_SIGNATURE.
	b, err := Encode(&Evidence{
		Nonce: fill(4, NonceSize), Claims: claims, Quote: fill(5, 145), Signature: fill(6, 72),
		PCRs: map[uint32][]byte{10: fill(7, 32)}, PCRBase: fill(8, PCRBaseSize),
		IMA: &IMASegment{From: 99_999, Count: 1, Part: Content{Digest: digest(9), Size: 140}},
	})
	if err != nil || len(b) >= 600 {
		t.Errorf("steady-state evidence has %d bytes, %v, want under 600", len(b), err)
	}
}

func TestDecodeIntoUsedMessage(t *testing.T) {
	used := &EnrollUp{Token: "from before", Hello: []byte{1}}
	b := annotated(t, "a1 01 41 a0")
	if err := Decode(b, used); !errors.Is(err, ErrNotDeterministic) {
		t.Errorf("Decode into a used message = %v, want a refusal instead of a mixture", err)
	}
	if !bytes.Equal(b, annotated(t, "a1 01 41 a0")) {
		t.Error("Decode changed its input")
	}
}
