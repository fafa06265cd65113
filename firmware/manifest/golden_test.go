package manifest

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

// golden are manifests with their encoding, byte by byte: hexadecimal, "xx*n" for n times the byte xx, and what it is
// after "//". They are what another implementation of the profile can test itself with.
var golden = []struct {
	name  string
	m     *Manifest
	bytes string
}{
	{"manifest", &Manifest{
		ID: "acme/r7/2", Vendor: "Acme", Model: "R7", Version: "2.0", SVN: 7, MinSVN: 5, NotBefore: day(1), NotAfter: day(31),
		PCRs: []PCR{
			{
				Index: 0, Values: []Digests{{sha256Of(0x11), {Algorithm: pcr.SHA384, Value: fill(0x22, 48)}}},
				Events: []Event{{Slot: "PEIFV", Digests: Digests{sha256Of(0x33)}, Note: "1 GiB", Required: true}},
			},
			{Index: 1, Coverage: Partial, Note: "SMBIOS"},
		},
		Regions: []Region{{
			Name: "bios", Offset: 65536, Length: 4096, Digests: Digests{sha256Of(0x44)},
			Excluded: []Range{{Offset: 256, Length: 16, Reason: "MAC"}},
		}},
		Files:      []File{{"/usr/bin/ls", sha256Of(0x55)}, {"/usr/bin/sh", sha256Of(0x66)}, {"/init", sha256Of(0x77)}},
		Supersedes: []Supersession{{"acme/r7/1", day(15)}},
		Withdraws:  []Withdrawal{{"acme/r7/0", "wrong branch"}},
	}, `
d901f5 // tag 501: CoRIM
a5 // map of 5
  00 // key 0: id
    69 61636d652f72372f32 // "acme/r7/2"
  01 // key 1: tags
    82 // array of 2
      d901fa // tag 506: CoMID
        59027d // 637 bytes: encoded CBOR
          a2 // map of 2
            01 // key 1: tag-identity
              a1 // map of 1
                00 // key 0: tag-id
                  72 61636d652f72372f322f706c6174666f726d // "acme/r7/2/platform"
            04 // key 4: triples
              a3 // map of 3
                00 // key 0: reference-triples
                  86 // array of 6
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a3 // map of 3
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 bd3db0942ea35a2397be219c16d08a06 // 16 bytes: class id (device)
                            01 // key 1: vendor
                              64 41636d65 // "Acme"
                            02 // key 2: model
                              62 5237 // "R7"
                      81 // array of 1
                        a2 // map of 2
                          00 // key 0: mkey
                            68 6669726d77617265 // "firmware"
                          01 // key 1: mval
                            a2 // map of 2
                              00 // key 0: version
                                a1 // map of 1
                                  00 // key 0: version
                                    63 322e30 // "2.0"
                              01 // key 1: svn
                                d90228 // tag 552: svn
                                  07 // 7
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a3 // map of 3
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 bd3db0942ea35a2397be219c16d08a06 // 16 bytes: class id (device)
                            01 // key 1: vendor
                              64 41636d65 // "Acme"
                            02 // key 2: model
                              62 5237 // "R7"
                      81 // array of 1
                        a2 // map of 2
                          00 // key 0: mkey
                            68 6669726d77617265 // "firmware"
                          01 // key 1: mval
                            a1 // map of 1
                              01 // key 1: svn
                                d90229 // tag 553: min-svn
                                  05 // 5
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a3 // map of 3
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 163528271b4950ca81eeebc20139e725 // 16 bytes: class id (pcr)
                            01 // key 1: vendor
                              64 41636d65 // "Acme"
                            02 // key 2: model
                              62 5237 // "R7"
                      81 // array of 1
                        a2 // map of 2
                          00 // key 0: mkey
                            00 // 0
                          01 // key 1: mval
                            a1 // map of 1
                              02 // key 2: digests
                                82 // array of 2
                                  82 // array of 2
                                    01 // 1
                                    5820 11*32 // 32 bytes
                                  82 // array of 2
                                    07 // 7
                                    5830 22*48 // 48 bytes
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a4 // map of 4
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 86c613d6773d5ee69a15b9dca8ec5721 // 16 bytes: class id (event)
                            01 // key 1: vendor
                              64 41636d65 // "Acme"
                            02 // key 2: model
                              62 5237 // "R7"
                            04 // key 4: index: PCR
                              00 // 0
                      81 // array of 1
                        a2 // map of 2
                          00 // key 0: mkey
                            65 5045494656 // "PEIFV"
                          01 // key 1: mval
                            a3 // map of 3
                              02 // key 2: digests
                                81 // array of 1
                                  82 // array of 2
                                    01 // 1
                                    5820 33*32 // 32 bytes
                              0b // key 11: name
                                65 3120476942 // "1 GiB"
                              21 // key -2: required (profile)
                                f5 // true
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a3 // map of 3
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 163528271b4950ca81eeebc20139e725 // 16 bytes: class id (pcr)
                            01 // key 1: vendor
                              64 41636d65 // "Acme"
                            02 // key 2: model
                              62 5237 // "R7"
                      81 // array of 1
                        a2 // map of 2
                          00 // key 0: mkey
                            01 // 1
                          01 // key 1: mval
                            a2 // map of 2
                              0b // key 11: name
                                66 534d42494f53 // "SMBIOS"
                              20 // key -1: coverage (profile)
                                01 // 1
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a3 // map of 3
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 4463e5fde8655496a99503353a072503 // 16 bytes: class id (flash)
                            01 // key 1: vendor
                              64 41636d65 // "Acme"
                            02 // key 2: model
                              62 5237 // "R7"
                      81 // array of 1
                        a2 // map of 2
                          00 // key 0: mkey
                            64 62696f73 // "bios"
                          01 // key 1: mval
                            a3 // map of 3
                              02 // key 2: digests
                                81 // array of 1
                                  82 // array of 2
                                    01 // 1
                                    5820 44*32 // 32 bytes
                              22 // key -3: range (profile)
                                82 // array of 2
                                  1a00010000 // 65536
                                  191000 // 4096
                              23 // key -4: excluded (profile)
                                81 // array of 1
                                  83 // array of 3
                                    190100 // 256
                                    10 // 16
                                    63 4d4143 // "MAC"
                06 // key 6: coswid-triples
                  81 // array of 1
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a3 // map of 3
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 bc63bc7128e6515fbc6c14f3fcc9995a // 16 bytes: class id (files)
                            01 // key 1: vendor
                              64 41636d65 // "Acme"
                            02 // key 2: model
                              62 5237 // "R7"
                      81 // array of 1
                        71 61636d652f72372f322f66696c65732f31 // "acme/r7/2/files/1"
                20 // key -1: denied-triples (profile)
                  81 // array of 1
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a3 // map of 3
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 986cba8b35ef59489e1084315f25f209 // 16 bytes: class id (manifest)
                            01 // key 1: vendor
                              64 41636d65 // "Acme"
                            02 // key 2: model
                              62 5237 // "R7"
                      81 // array of 1
                        a2 // map of 2
                          00 // key 0: mkey
                            69 61636d652f72372f30 // "acme/r7/0"
                          01 // key 1: mval
                            a1 // map of 1
                              0b // key 11: name
                                6c 77726f6e67206272616e6368 // "wrong branch"
      d901f9 // tag 505: CoSWID
        58cd // 205 bytes: encoded CBOR
          a6 // map of 6
            00 // key 0: tag-id
              71 61636d652f72372f322f66696c65732f31 // "acme/r7/2/files/1"
            01 // key 1: software-name
              62 5237 // "R7"
            02 // key 2: entity
              a2 // map of 2
                181f // key 31: entity-name
                  64 41636d65 // "Acme"
                1821 // key 33: role
                  82 // array of 2
                    01 // 1
                    02 // 2
            06 // key 6: payload
              a2 // map of 2
                10 // key 16: directory
                  a4 // map of 4
                    17 // key 23: location
                      63 757372 // "usr"
                    1818 // key 24: fs-name
                      63 62696e // "bin"
                    1819 // key 25: root
                      61 2f // "/"
                    181a // key 26: path-elements
                      a1 // map of 1
                        11 // key 17: file
                          82 // array of 2
                            a2 // map of 2
                              07 // key 7: hash
                                82 // array of 2
                                  01 // 1
                                  5820 55*32 // 32 bytes
                              1818 // key 24: fs-name
                                62 6c73 // "ls"
                            a2 // map of 2
                              07 // key 7: hash
                                82 // array of 2
                                  01 // 1
                                  5820 66*32 // 32 bytes
                              1818 // key 24: fs-name
                                62 7368 // "sh"
                11 // key 17: file
                  a3 // map of 3
                    07 // key 7: hash
                      82 // array of 2
                        01 // 1
                        5820 77*32 // 32 bytes
                    1818 // key 24: fs-name
                      64 696e6974 // "init"
                    1819 // key 25: root
                      61 2f // "/"
            0c // key 12: tag-version
              00 // 0
            0d // key 13: software-version
              63 322e30 // "2.0"
  03 // key 3: profile
    d820 // tag 32: URI
      782b 7461673a70726f626974792d6174746573742e6f72672c323032363a636f72696d2d70726f66696c653a31 // "tag:probity-attest.org,2026:corim-profile:1"
  04 // key 4: rim-validity
    a2 // map of 2
      00 // key 0: not-before
        c1 // tag 1: time
          1a69a38180 // 1772323200
      01 // key 1: not-after
        c1 // tag 1: time
          1a69cb0e80 // 1774915200
  20 // key -1: supersedes (profile)
    81 // array of 1
      82 // array of 2
        69 61636d652f72372f31 // "acme/r7/1"
        1a69b5f680 // 1773532800
`},
	{"deny-list", &Manifest{
		ID: "acme/a/1", Advisory: "CVE-2026-1",
		Denied: []Denial{
			{Digests: Digests{sha256Of(0x88)}, Note: "implant"},
			{Component: DeniedFile, Digests: Digests{sha256Of(0x99)}},
		},
	}, `
d901f5 // tag 501: CoRIM
a4 // map of 4
  00 // key 0: id
    68 61636d652f612f31 // "acme/a/1"
  01 // key 1: tags
    81 // array of 1
      d901fa // tag 506: CoMID
        58a7 // 167 bytes: encoded CBOR
          a2 // map of 2
            01 // key 1: tag-identity
              a1 // map of 1
                00 // key 0: tag-id
                  71 61636d652f612f312f706c6174666f726d // "acme/a/1/platform"
            04 // key 4: triples
              a1 // map of 1
                20 // key -1: denied-triples (profile)
                  82 // array of 2
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a1 // map of 1
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 49a18ee80abb57b291ea242ac04a1149 // 16 bytes: class id (content)
                      81 // array of 1
                        a1 // map of 1
                          01 // key 1: mval
                            a2 // map of 2
                              02 // key 2: digests
                                81 // array of 1
                                  82 // array of 2
                                    01 // 1
                                    5820 88*32 // 32 bytes
                              0b // key 11: name
                                67 696d706c616e74 // "implant"
                    82 // array of 2
                      a1 // map of 1
                        00 // key 0: class
                          a1 // map of 1
                            00 // key 0: class-id
                              d825 // tag 37: UUID
                                50 bc63bc7128e6515fbc6c14f3fcc9995a // 16 bytes: class id (files)
                      81 // array of 1
                        a1 // map of 1
                          01 // key 1: mval
                            a1 // map of 1
                              02 // key 2: digests
                                81 // array of 1
                                  82 // array of 2
                                    01 // 1
                                    5820 99*32 // 32 bytes
  03 // key 3: profile
    d820 // tag 32: URI
      782b 7461673a70726f626974792d6174746573742e6f72672c323032363a636f72696d2d70726f66696c653a31 // "tag:probity-attest.org,2026:corim-profile:1"
  21 // key -2: advisory (profile)
    6a 4356452d323032362d31 // "CVE-2026-1"
`},
}

// goldenEnvelope is what stands before the key id, between it and the payload, and between payload and signature, when
// the manifest above is signed by Ed25519.
var goldenEnvelope = [3]string{`
d2 // tag 18: COSE_Sign1
  84 // array of 4
    58 6b // 107 bytes: the protected header
      a4 // map of 4
        01 // key 1: alg
          27 // -8: EdDSA
        03 // key 3: content type
          74 6170706c69636174696f6e2f72696d2b63626f72 // "application/rim+cbor"
        04 // key 4: key id
          5820 // 32 bytes: SHA-256 of the key's SubjectPublicKeyInfo`, `
        0f // key 15: CWT claims
          a4 // map of 4
            01 // key 1: iss
              74 68747470733a2f2f61636d652e6578616d706c65 // "https://acme.example"
            02 // key 2: sub
              69 61636d652f72372f32 // "acme/r7/2"
            04 // key 4: exp
              1a 69cb0e80 // 1774915200
            05 // key 5: nbf
              1a 69a38180 // 1772323200
    a0 // map of 0: nothing is unprotected
    59 03b8 // 952 bytes: the payload`, `
    5840 // 64 bytes: the signature`}

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func sha256Of(b byte) Digest { return Digest{Algorithm: pcr.SHA256, Value: fill(b, 32)} }

// annotated returns the bytes of a listing.
func annotated(t testing.TB, listing string) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(listing) {
		line, _, _ = strings.Cut(line, "//")
		for word := range strings.FieldsSeq(line) {
			digits, times, repeated := strings.Cut(word, "*")
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatalf("listing: %q: %v", word, err)
			}
			n := 1
			if repeated {
				if n, err = strconv.Atoi(times); err != nil {
					t.Fatalf("listing: %q: %v", word, err)
				}
			}
			out = append(out, bytes.Repeat(b, n)...)
		}
	}
	return out
}

func TestGolden(t *testing.T) {
	for _, tt := range golden {
		want := annotated(t, tt.bytes)
		if got := mustEncode(t, tt.m); !bytes.Equal(got, want) {
			t.Errorf("Encode(%s) =\n%x, want\n%x", tt.name, got, want)
		}
		got, err := Decode(want)
		if err != nil {
			t.Errorf("Decode(%s): %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.m, got); diff != "" {
			t.Errorf("Decode(%s): %s", tt.name, diff)
		}
	}
}

func TestGoldenEnvelope(t *testing.T) {
	key := edKey(t)
	id, err := KeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signed := mustSign(t, golden[0].m, key)
	var want []byte
	want = append(annotated(t, goldenEnvelope[0]), id...)
	want = append(append(want, annotated(t, goldenEnvelope[1])...), mustEncode(t, golden[0].m)...)
	want = append(want, annotated(t, goldenEnvelope[2])...)
	want = append(want, signed[len(signed)-64:]...)
	if !bytes.Equal(signed, want) {
		t.Errorf("Sign =\n%x, want\n%x", signed, want)
	}
}
