package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/pcr"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// Freshness tells what proves that a result is about the device as it was then. ak is the device's attestation key.
// The error is about evidence that is stored and cannot have been appraised.
func Freshness(e *Evidence, ak []byte) (v1.Freshness, error) {
	r := e.Result
	out := v1.Freshness{
		Result: e.Seq, Nonce: r.IssuedAt.UTC(), At: r.At.UTC(), StaleAt: r.StaleAt.UTC(), Resets: r.Resets, Restarts: r.Restarts,
		Evidence: r.Evidence, Quote: e.Message.Quote, Sig: e.Message.Signature, AK: ak,
	}
	say := func(format string, args ...any) { out.Text = append(out.Text, fmt.Sprintf(format, args...)) }
	say("The verifier made a random nonce for this device at %s, and appraised the evidence %s later.",
		stamp(r.IssuedAt), words(r.At.Sub(r.IssuedAt)))
	if len(e.Message.Quote) == 0 {
		say("The device has no TPM. A key on its disk signed the nonce and everything else that it reported, so that the " +
			"report is of after this moment, as far as nobody copied the key.")
	} else {
		clock, err := quoteClock(e.Message.Quote)
		if err != nil {
			return out, err
		}
		out.Clock = clock
		say("Its TPM signed the nonce, the digest of all quoted PCRs and the digest of everything else that it reported, with the " +
			"attestation key that was bound to this device at enrolment: the report is of after this moment, and of this device.")
		say("By the same signature the TPM was powered for %s, was reset %d times, and resumed %d times since its last reset. "+
			"Clock and counters have only ever gone forwards, or there is a finding that says so.",
			words(time.Duration(min(clock, uint64(1<<43))*uint64(time.Millisecond)).Truncate(time.Second)), r.Resets, r.Restarts)
	}
	if r.FlashAge > 0 {
		say("Digests of flash memory are up to %s older: reading flash takes long, so the device does not read it for every report.",
			words(time.Duration(r.FlashAge)*time.Second))
	}
	if bank, err := pcr.ParseAlgorithm(r.Bank); err == nil && !bank.Trusted() {
		say("The PCR bank is %s, which is broken: the values may have been made to measure.", strings.ToUpper(r.Bank))
	}
	say("Without newer evidence the result becomes stale at %s.", stamp(r.StaleAt))
	return out, nil
}

// words says how long something took: in milliseconds below a second, then in its two largest units.
func words(d time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}, {time.Millisecond, "ms"}}
	d = max(d, 0).Round(time.Millisecond)
	for i, u := range units {
		if d < u.size {
			continue
		}
		out := fmt.Sprintf("%d %s", d/u.size, u.name)
		if i+2 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				out += fmt.Sprintf(" %d %s", rest, units[i+1].name)
			}
		}
		return out
	}
	return "0 ms"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

var errQuote = errors.New("stored quote is too short")

// quoteClock returns TPMS_CLOCK_INFO.clock of a quote (TPM 2.0 Library, Part 2, sections 10.11.1 and 10.12.12), in
// milliseconds. What is stored was verified when it was appraised.
func quoteClock(quote []byte) (uint64, error) {
	rest := quote
	take := func(n int) []byte {
		if n > len(rest) {
			rest = nil
			return nil
		}
		out := rest[:n]
		rest = rest[n:]
		return out
	}
	take(4 + 2)   // magic and type
	for range 2 { // qualifiedSigner and extraData
		size := take(2)
		if size == nil {
			return 0, errQuote
		}
		take(int(binary.BigEndian.Uint16(size)))
	}
	clock := take(8)
	if clock == nil {
		return 0, errQuote
	}
	return binary.BigEndian.Uint64(clock), nil
}
