package appraise_test

import (
	"slices"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// fourBanks returns a device that booted a machine with four PCR banks and quotes one of them.
func fourBanks(t testing.TB, bank pcr.Algorithm) *bench {
	t.Helper()
	d, err := appraisetest.NewIn(bank, fixture(t, "eventlogs", "direct-four-banks"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return benchFor(t, d)
}

func listing(banks ...pcr.Algorithm) func(*appraise.Policy) {
	return func(p *appraise.Policy) { p.Banks, p.IMA = banks, appraise.Ignored }
}

// TestWeakBank: SHA-1 explains what was booted and is never trusted unless the policy lists it.
func TestWeakBank(t *testing.T) {
	b := fourBanks(t, pcr.SHA1)
	b.with(listing(pcr.SHA256, pcr.SHA384))
	r := b.attest()
	b.wantState(r, result.Unsupported)
	if f := wantFinding(t, r, "bank-weak"); f.Severity != result.Warn || f.Expected != "one of [sha256 sha384]" || f.Observed != "sha1" {
		t.Errorf("finding = %+v, want a warning with the banks", f)
	}
	if r.Bank != "sha1" || len(r.PCRs["0"]) != 40 {
		t.Errorf("bank %s, PCR 0 %q: want what was quoted", r.Bank, r.PCRs["0"])
	}
	b.trusting() // made when the policy listed SHA-1
	r = b.attest()
	b.wantState(r, result.Warning)
	wantFinding(t, r, "bank-weak")
	if got := r.Submods[result.Boot].Status(); got != "warning" {
		t.Errorf("boot is %s, want warning", got)
	}

	b.with(listing(pcr.SHA256, pcr.SHA1))
	r = b.attest()
	b.wantState(r, result.Trusted)
	if f := wantFinding(t, r, "bank-weak"); f.Severity != result.Info {
		t.Errorf("severity = %s where the policy lists sha1, want info", f.Severity)
	}
}

// TestWeakBankExplains: log and list are replayed, and what they show is told.
func TestWeakBankExplains(t *testing.T) {
	b := fourBanks(t, pcr.SHA1)
	good := b.device.BootLog
	b.with(listing(pcr.SHA256, pcr.SHA1))
	b.trusting()
	other := remeasure(t, good, func(e *eventlog.Event) bool { return e.PCR == 4 && e.Type == eventlog.EFIBootServicesApplication }, nil)
	d, err := appraisetest.NewIn(pcr.SHA1, other, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := benchFor(t, d)
	c.set, c.policy = b.set, b.policy
	r := c.attest()
	c.wantState(r, result.Untrusted)
	wantFinding(t, r, "boot-event-changed")
	d.BootLog = good
	r = c.attest()
	c.wantState(r, result.Untrusted)
	wantFinding(t, r, "boot-log-mismatch")

	list := fixture(t, "ima", "direct-four-banks")
	if d, err = appraisetest.NewIn(pcr.SHA1, good, list); err != nil {
		t.Fatal(err)
	}
	c = benchFor(t, d)
	r = c.attest()
	n, err := ima.Count(list)
	if err != nil || r.IMAEntries != uint64(n) {
		t.Errorf("%d IMA entries replayed, want %d, %v", r.IMAEntries, n, err)
	}
	wantNone(t, r, "ima-mismatch")
	d.IMA = list[:len(list)/2]
	if _, _, err := d.Report(c.challenge()); err == nil {
		t.Fatal("half an entry makes a list")
	}
	at, err := ima.Skip(list, n-1)
	if err != nil {
		t.Fatal(err)
	}
	d.IMA, c.record = list[:at], appraise.Record{}
	r = c.attest()
	wantFinding(t, r, "ima-mismatch")
}

// TestBankDowngrade: SHA-1 of a device that can do better is an attack, however its values look.
func TestBankDowngrade(t *testing.T) {
	weak := func(b *bench) {
		b.t.Helper()
		d, err := appraisetest.NewIn(pcr.SHA1, b.device.BootLog, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		b.device.Bank = d.Bank
	}
	for _, bank := range []pcr.Algorithm{pcr.SHA256, pcr.SHA384} {
		for name, banks := range map[string][]pcr.Algorithm{
			"not listed": {pcr.SHA256, pcr.SHA384}, "listed": {pcr.SHA256, pcr.SHA384, pcr.SHA1},
		} {
			b := fourBanks(t, bank)
			b.with(listing(banks...))
			b.trusting()
			b.wantState(b.attest(), result.Trusted)
			weak(b)
			both := fourBanks(t, pcr.SHA1)
			b.set = compileForTest(b.baseline("sha1"), fourBanks(t, bank).baseline("strong"))
			for range 3 { // it is not forgotten with the next report
				r := b.attest()
				b.wantState(r, result.Untrusted)
				if f := wantFinding(t, r, "bank-downgrade"); f.Expected != bank.String()+", as this device quoted before" {
					t.Errorf("%s, sha1 %s: expected %q", bank, name, f.Expected)
				}
			}
			b.device.Bank = fourBanks(t, bank).device.Bank
			b.wantState(b.attest(), result.Trusted)
			weak(b)
			b.wantState(b.attest(), result.Untrusted)
			// Another device of the model may have no better bank.
			both.set, both.policy = b.set, b.policy
			want := map[string]result.State{"not listed": result.Warning, "listed": result.Trusted}[name]
			both.wantState(both.attest(), want)
		}
	}
	t.Run("the operator prefers it now", func(t *testing.T) {
		for _, banks := range [][]pcr.Algorithm{{pcr.SHA1}, {pcr.SHA1, pcr.SHA256}} {
			b := fourBanks(t, pcr.SHA256)
			b.attest()
			weak(b)
			b.with(listing(banks...))
			b.trusting()
			b.wantState(b.attest(), result.Trusted)
		}
	})
	t.Run("references of the model", func(t *testing.T) {
		strong := fourBanks(t, pcr.SHA256).baseline("strong")
		b := fourBanks(t, pcr.SHA1)
		b.with(listing(pcr.SHA256))
		b.set = compileForTest(strong)
		r := b.attest()
		b.wantState(r, result.Untrusted)
		wantFinding(t, r, "bank-downgrade")
		flashOnly := reference.Baseline{Name: "soft", Vendor: "Acme", Model: "R7", Tamper: []string{"lid"}}
		b.set = compileForTest(flashOnly)
		wantFinding(t, b.attest(), "bank-weak")
		b.set = compileForTest(strong)
		b.with(listing(pcr.SHA256, pcr.SHA1))
		b.wantState(b.attest(), result.Unsupported) // there is nothing to compare with
	})
}

func TestOffers(t *testing.T) {
	for _, tt := range []struct{ banks, want []pcr.Algorithm }{
		{[]pcr.Algorithm{pcr.SHA256, pcr.SHA384}, []pcr.Algorithm{pcr.SHA256, pcr.SHA384, pcr.SHA1}},
		{[]pcr.Algorithm{pcr.SHA1, pcr.SHA256}, []pcr.Algorithm{pcr.SHA1, pcr.SHA256}},
	} {
		p := appraise.DefaultPolicy()
		p.Banks = tt.banks
		var got []pcr.Algorithm
		for _, b := range p.Offers() {
			got = append(got, pcr.Algorithm(b))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("Offers of %v = %v, want %v", tt.banks, got, tt.want)
		}
	}
}

// TestBanksThatAreRefused: no other bank becomes acceptable by SHA-1 being one.
func TestBanksThatAreRefused(t *testing.T) {
	b := fourBanks(t, pcr.SHA384)
	b.with(listing(pcr.SHA256))
	_, err := b.appraise(b.report())
	wantRejection(t, err, proto.CodeSelection)
	for _, forged := range []uint16{uint16(pcr.SHA512), uint16(pcr.SM3), 0} {
		b := fourBanks(t, pcr.SHA256)
		b.device.ForgeClaims = func(c *proto.Claims) { c.Bank = forged }
		b.device.Forge = func(q []byte) []byte {
			q[attestBank], q[attestBank+1] = byte(forged>>8), byte(forged)
			return q
		}
		_, err := b.appraise(b.report())
		wantRejection(t, err, proto.CodeSelection)
	}
}
