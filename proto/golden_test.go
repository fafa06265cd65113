package proto

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// golden are messages with their encoding, byte by byte: hexadecimal, "xx*n" for n times the byte xx, and what it is
// after "//". They are what another implementation can test itself with.
var golden = []struct {
	name  string
	m     Message
	bytes string
}{
	{"state", &State{Kind: StateReady, Agent: "1.2.3"}, `
a2 // map of 2
  01 // key 1: Kind
    01 // 1
  02 // key 2: Agent
    65 312e322e33 // text "1.2.3"
`},
	{"challenge", &Challenge{
		Nonce:    fill(0x11, 32),
		Banks:    []uint16{11, 12},
		PCRs:     0x7ff,
		Lifetime: 120,
		BootID:   fill(0x22, 16),
		IMAFrom:  1650,
		PCRBase:  fill(0x33, 8),
	}, `
a7 // map of 7
  01 // key 1: Nonce
    5820 11*32 // 32 bytes
  02 // key 2: Banks
    82 // array of 2
      0b // 11
      0c // 12
  03 // key 3: PCRs
    1907ff // 2047
  04 // key 4: Lifetime
    1878 // 120
  05 // key 5: BootID
    50 22*16 // 16 bytes
  06 // key 6: IMAFrom
    190672 // 1650
  07 // key 7: PCRBase
    48 3333333333333333 // 8 bytes
`},
	{"evidence", &Evidence{
		Nonce:     fill(0x11, 32),
		Claims:    []byte{0xa0},
		Quote:     []byte{0xff, 0x54, 0x43, 0x47},
		Signature: []byte{0, 0x18},
		PCRs:      map[uint32][]byte{10: fill(0xaa, 32)},
		PCRBase:   fill(0x33, 8),
		IMA:       &IMASegment{From: 1650, Count: 2, Part: Content{Digest: digest(0xbb), Size: 300}},
	}, `
a7 // map of 7
  01 // key 1: Nonce
    5820 11*32 // 32 bytes
  02 // key 2: Claims
    41 a0 // 1 bytes
  03 // key 3: Quote
    44 ff544347 // 4 bytes
  04 // key 4: Signature
    42 0018 // 2 bytes
  05 // key 5: PCRs
    a1 // map of 1
      0a // key 10
        5820 aa*32 // 32 bytes
  06 // key 6: PCRBase
    48 3333333333333333 // 8 bytes
  07 // key 7: IMA
    a3 // map of 3
      01 // key 1: From
        190672 // 1650
      02 // key 2: Count
        02 // 2
      03 // key 3: Part
        a2 // map of 2
          01 // key 1: Digest
            5820 bb*32 // 32 bytes
          02 // key 2: Size
            19012c // 300
`},
	{"claims", &Claims{
		Agent:    "1.2.3",
		BootID:   fill(0x22, 16),
		Bank:     11,
		BootLog:  Item{Content: &Content{Digest: digest(0xcc), Size: 35000}},
		IMA:      IMAStatus{Count: 1652},
		Platform: Item{Unavailable: &Unavailable{Cause: CauseNotAllowed, Reason: "charter"}},
	}, `
a6 // map of 6
  01 // key 1: Agent
    65 312e322e33 // text "1.2.3"
  02 // key 2: BootID
    50 22*16 // 16 bytes
  03 // key 3: Bank
    0b // 11
  04 // key 4: BootLog
    a1 // map of 1
      01 // key 1: Content
        a2 // map of 2
          01 // key 1: Digest
            5820 cc*32 // 32 bytes
          02 // key 2: Size
            1988b8 // 35000
  05 // key 5: IMA
    a1 // map of 1
      01 // key 1: Count
        190674 // 1652
  06 // key 6: Platform
    a1 // map of 1
      02 // key 2: Unavailable
        a2 // map of 2
          01 // key 1: Cause
            6b 6e6f742d616c6c6f776564 // text "not-allowed"
          02 // key 2: Reason
            67 63686172746572 // text "charter"
`},
	{"claims with flash", &Claims{
		Agent:    "1.2.3",
		BootID:   fill(0x22, 16),
		BootLog:  Item{Unavailable: &Unavailable{Cause: CauseNoSupport}},
		IMA:      IMAStatus{Unavailable: &Unavailable{Cause: CauseNoSupport}},
		Platform: Item{Content: &Content{Digest: digest(0xcc), Size: 900}},
		Flash:    &FlashStatus{Regions: Item{Content: &Content{Digest: digest(0xdd), Size: 300}}, Age: 60},
		Tamper: []TamperLine{
			{Name: "lid", State: TamperOpen, Openings: 1},
			{Name: "door", Unavailable: &Unavailable{Cause: CauseNotFound, Reason: "gone"}},
		},
	}, `
a7 // map of 7
  01 // key 1: Agent
    65 312e322e33 // text "1.2.3"
  02 // key 2: BootID
    50 22*16 // 16 bytes
  04 // key 4: BootLog
    a1 // map of 1
      02 // key 2: Unavailable
        a2 // map of 2
          01 // key 1: Cause
            6d 6e6f742d737570706f72746564 // text "not-supported"
          02 // key 2: Reason
            60 // text ""
  05 // key 5: IMA
    a1 // map of 1
      02 // key 2: Unavailable
        a2 // map of 2
          01 // key 1: Cause
            6d 6e6f742d737570706f72746564 // text "not-supported"
          02 // key 2: Reason
            60 // text ""
  06 // key 6: Platform
    a1 // map of 1
      01 // key 1: Content
        a2 // map of 2
          01 // key 1: Digest
            5820 cc*32 // 32 bytes
          02 // key 2: Size
            190384 // 900
  07 // key 7: Flash
    a2 // map of 2
      01 // key 1: Regions
        a1 // map of 1
          01 // key 1: Content
            a2 // map of 2
              01 // key 1: Digest
                5820 dd*32 // 32 bytes
              02 // key 2: Size
                19012c // 300
      02 // key 2: Age
        183c // 60
  08 // key 8: Tamper
    82 // array of 2
      a3 // map of 3
        01 // key 1: Name
          63 6c6964 // text "lid"
        02 // key 2: State
          02 // 2
        03 // key 3: Openings
          01 // 1
      a2 // map of 2
        01 // key 1: Name
          64 646f6f72 // text "door"
        04 // key 4: Unavailable
          a2 // map of 2
            01 // key 1: Cause
              69 6e6f742d666f756e64 // text "not-found"
            02 // key 2: Reason
              64 676f6e65 // text "gone"
`},
	{"flash", &Flash{Regions: []FlashRegion{
		{
			Name: "bios", Source: "mtd:bios", Offset: 4096, Length: 8192, Digest: fill(0xee, 32),
			Excluded: []FlashRange{{Length: 16}, {Offset: 64, Length: 6}},
			Bad:      []FlashRange{{Offset: 4096, Length: 4096}}, Chip: "ef4018",
		},
		{Name: "env", Source: "mtd:env", Unavailable: &Unavailable{Cause: CausePending, Reason: "later"}},
	}}, `
a1 // map of 1
  01 // key 1: Regions
    82 // array of 2
      a8 // map of 8
        01 // key 1: Name
          64 62696f73 // text "bios"
        02 // key 2: Source
          68 6d74643a62696f73 // text "mtd:bios"
        03 // key 3: Offset
          191000 // 4096
        04 // key 4: Length
          192000 // 8192
        05 // key 5: Digest
          5820 ee*32 // 32 bytes
        06 // key 6: Excluded
          82 // array of 2
            a1 // map of 1
              02 // key 2: Length
                10 // 16
            a2 // map of 2
              01 // key 1: Offset
                1840 // 64
              02 // key 2: Length
                06 // 6
        07 // key 7: Bad
          81 // array of 1
            a2 // map of 2
              01 // key 1: Offset
                191000 // 4096
              02 // key 2: Length
                191000 // 4096
        08 // key 8: Chip
          66 656634303138 // text "ef4018"
      a3 // map of 3
        01 // key 1: Name
          63 656e76 // text "env"
        02 // key 2: Source
          67 6d74643a656e76 // text "mtd:env"
        09 // key 9: Unavailable
          a2 // map of 2
            01 // key 1: Cause
              67 70656e64696e67 // text "pending"
            02 // key 2: Reason
              65 6c61746572 // text "later"
`},
	{"want", &Want{Evidence: digest(0xdd), Contents: []Digest{digest(0xcc), digest(0xbb)}}, `
a2 // map of 2
  01 // key 1: Evidence
    5820 dd*32 // 32 bytes
  02 // key 2: Contents
    82 // array of 2
      5820 cc*32 // 32 bytes
      5820 bb*32 // 32 bytes
`},
	{"chunk", &Chunk{Digest: digest(0xcc), Size: 65539, Offset: 65536, Data: []byte{1, 2, 3}}, `
a4 // map of 4
  01 // key 1: Digest
    5820 cc*32 // 32 bytes
  02 // key 2: Size
    1a00010003 // 65539
  03 // key 3: Offset
    1a00010000 // 65536
  04 // key 4: Data
    43 010203 // 3 bytes
`},
	{"receipt", &Receipt{
		Evidence: digest(0xdd),
		Status:   Appraised,
		State:    "warning",
		Reasons:  []string{"PCR 7"},
		Next:     300,
	}, `
a5 // map of 5
  01 // key 1: Evidence
    5820 dd*32 // 32 bytes
  02 // key 2: Status
    01 // 1
  04 // key 4: State
    67 7761726e696e67 // text "warning"
  05 // key 5: Reasons
    81 // array of 1
      65 5043522037 // text "PCR 7"
  06 // key 6: Next
    19012c // 300
`},
	{"rejection", &Receipt{
		Evidence: digest(0xdd),
		Status:   Rejected,
		Code:     CodeNonceExpired,
		State:    "trusted",
		Next:     10,
	}, `
a5 // map of 5
  01 // key 1: Evidence
    5820 dd*32 // 32 bytes
  02 // key 2: Status
    02 // 2
  03 // key 3: Code
    6d 6e6f6e63652d65787069726564 // text "nonce-expired"
  04 // key 4: State
    67 74727573746564 // text "trusted"
  06 // key 6: Next
    0a // 10
`},
	{"platform", &Platform{
		Vendor:          "Acme",
		Model:           "R7",
		Board:           "B",
		FirmwareVendor:  "F",
		FirmwareVersion: "2.5.0",
		FirmwareDate:    "D",
		Architecture:    "arm64",
		Kernel:          "6.1",
		CommandLine:     "quiet",
		OS:              "OS",
		SecureBoot:      "on",
		Firmware:        []FirmwareVersion{{Class: "GUID", Version: 3, Lowest: 2}},
		Unavailable:     map[string]string{"board": "io-error"},
		Devices:         []BusDevice{{Bus: "i2c", Address: "0-50", Name: "24c64"}},
	}, `
ae // map of 14
  01 // key 1: Vendor
    64 41636d65 // text "Acme"
  02 // key 2: Model
    62 5237 // text "R7"
  03 // key 3: Board
    61 42 // text "B"
  04 // key 4: FirmwareVendor
    61 46 // text "F"
  05 // key 5: FirmwareVersion
    65 322e352e30 // text "2.5.0"
  06 // key 6: FirmwareDate
    61 44 // text "D"
  07 // key 7: Architecture
    65 61726d3634 // text "arm64"
  08 // key 8: Kernel
    63 362e31 // text "6.1"
  09 // key 9: CommandLine
    65 7175696574 // text "quiet"
  0a // key 10: OS
    62 4f53 // text "OS"
  0b // key 11: SecureBoot
    62 6f6e // text "on"
  0c // key 12: Firmware
    81 // array of 1
      a3 // map of 3
        01 // key 1: Class
          64 47554944 // text "GUID"
        02 // key 2: Version
          03 // 3
        03 // key 3: Lowest
          02 // 2
  0d // key 13: Unavailable
    a1 // map of 1
      65 626f617264 // key "board"
        68 696f2d6572726f72 // text "io-error"
  0e // key 14: Devices
    81 // array of 1
      a3 // map of 3
        01 // key 1: Bus
          63 693263 // text "i2c"
        02 // key 2: Address
          64 302d3530 // text "0-50"
        03 // key 3: Name
          65 3234633634 // text "24c64"
`},
	{"hello tpm", &Hello{
		Agent:          "1.2.3",
		EKPublic:       []byte{0, 0x23},
		EKCertificates: [][]byte{{0x30, 0}},
		AK:             &CertifiedKey{Public: []byte{1}, CreationData: []byte{2}, Attest: []byte{3}, Signature: []byte{4}},
		TLS:            &CertifiedKey{Public: []byte{5}, Attest: []byte{6}, Signature: []byte{7}},
		Platform:       &Platform{Model: "R7"},
	}, `
a6 // map of 6
  01 // key 1: Agent
    65 312e322e33 // text "1.2.3"
  02 // key 2: EKPublic
    42 0023 // 2 bytes
  03 // key 3: EKCertificates
    81 // array of 1
      42 3000 // 2 bytes
  04 // key 4: AK
    a4 // map of 4
      01 // key 1: Public
        41 01 // 1 bytes
      02 // key 2: CreationData
        41 02 // 1 bytes
      03 // key 3: Attest
        41 03 // 1 bytes
      04 // key 4: Signature
        41 04 // 1 bytes
  05 // key 5: TLS
    a3 // map of 3
      01 // key 1: Public
        41 05 // 1 bytes
      03 // key 3: Attest
        41 06 // 1 bytes
      04 // key 4: Signature
        41 07 // 1 bytes
  07 // key 7: Platform
    a1 // map of 1
      02 // key 2: Model
        62 5237 // text "R7"
`},
	{"hello software", &Hello{Agent: "1.2.3", Software: []byte{0x30, 0}}, `
a2 // map of 2
  01 // key 1: Agent
    65 312e322e33 // text "1.2.3"
  06 // key 6: Software
    42 3000 // 2 bytes
`},
	{"enroll hello", &EnrollUp{Hello: []byte{0xa0}, Token: "pbt1.acme.id.secret"}, `
a2 // map of 2
  01 // key 1: Hello
    41 a0 // 1 bytes
  03 // key 3: Token
    73 706274312e61636d652e69642e736563726574 // text "pbt1.acme.id.secret"
`},
	{"enroll proof", &EnrollUp{
		Proof: &EnrollProof{Hello: []byte{0xa0}, Nonce: fill(0x11, 32), Answer: []byte{9}},
	}, `
a1 // map of 1
  02 // key 2: Proof
    a3 // map of 3
      01 // key 1: Hello
        41 a0 // 1 bytes
      02 // key 2: Nonce
        5820 11*32 // 32 bytes
      03 // key 3: Answer
        41 09 // 1 bytes
`},
	{"enroll challenge", &EnrollDown{
		Challenge: &EnrollChallenge{Nonce: fill(0x11, 32), Credential: []byte{1}, Secret: []byte{2}},
	}, `
a1 // map of 1
  01 // key 1: Challenge
    a3 // map of 3
      01 // key 1: Nonce
        5820 11*32 // 32 bytes
      02 // key 2: Credential
        41 01 // 1 bytes
      03 // key 3: Secret
        41 02 // 1 bytes
`},
	{"enroll certificate", &EnrollDown{
		Certificate: &EnrollCertificate{Chain: [][]byte{{0x30, 0}, {0x30, 1}}, Renew: 43200, Level: "certified"},
	}, `
a1 // map of 1
  02 // key 2: Certificate
    a3 // map of 3
      01 // key 1: Chain
        82 // array of 2
          42 3000 // 2 bytes
          42 3001 // 2 bytes
      02 // key 2: Renew
        19a8c0 // 43200
      03 // key 3: Level
        69 636572746966696564 // text "certified"
`},
	{"enroll pending", &EnrollDown{Pending: &EnrollPending{Message: "wait", Retry: 60}}, `
a1 // map of 1
  03 // key 3: Pending
    a2 // map of 2
      01 // key 1: Message
        64 77616974 // text "wait"
      02 // key 2: Retry
        183c // 60
`},
	{"enroll denied", &EnrollDown{Denied: &EnrollDenied{Code: "token-used", Message: "no"}}, `
a1 // map of 1
  04 // key 4: Denied
    a3 // map of 3
      01 // key 1: Code
        6a 746f6b656e2d75736564 // text "token-used"
      02 // key 2: Message
        62 6e6f // text "no"
      03 // key 3: Retry
        00 // 0
`},
}

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func digest(b byte) Digest { return Digest(fill(b, 32)) }

// annotated turns an annotated listing into bytes.
func annotated(t testing.TB, listing string) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(listing) {
		code, _, _ := strings.Cut(line, "//")
		for _, word := range strings.Fields(code) {
			digits, count, repeated := strings.Cut(word, "*")
			n := 1
			if repeated {
				var err error
				if n, err = strconv.Atoi(count); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			}
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			out = append(out, bytes.Repeat(b, n)...)
		}
	}
	return out
}

// blank returns a new message of m's type.
func blank(m Message) Message { return reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message) }

func TestGolden(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := annotated(t, g.bytes)
			got, err := Encode(g.m)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("Encode = %x, want %x", got, want)
			}
			m := blank(g.m)
			if err := Decode(want, m); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g.m, m); diff != "" {
				t.Errorf("Decode (-want +got):\n%s", diff)
			}
		})
	}
}
