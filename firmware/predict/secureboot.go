package predict

import (
	"bytes"
	"cmp"
	"crypto/x509"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/pcr"
)

// secureBootPCR holds the Secure Boot policy (PFP section 3.3.4.8).
const secureBootPCR = 7

// databases are the variables that PFP section 3.3.4.8 wants measured, in edk2's order.
var databases = []struct {
	name     string
	guid     image.GUID
	optional bool // measured only if it exists
}{
	{"PK", guidGlobal, false},
	{"KEK", guidGlobal, false},
	{"db", guidDatabase, false},
	{"dbx", guidDatabase, false},
	{"dbt", guidDatabase, true},
	{"dbr", guidDatabase, true},
}

// secureBoot finds out the state that is predicted for.
func (b *builder) secureBoot() error {
	b.secure = b.in.SecureBoot
	if b.in.Variables == nil {
		if b.fw.kind == platformUBoot && b.secure != eventlog.SecureBootOn {
			b.secure, b.vars = eventlog.SecureBootOff, variables{}
			b.assume(secureBootPCR, "no Secure Boot keys are built into U-Boot and none are enrolled")
		}
		return nil
	}
	if b.fw.kind == platformUBoot {
		return inputError("U-Boot does not keep its variables in an image like this one: leave it out")
	}
	vars, err := parseVariables(b.in.Variables)
	if err != nil {
		return err
	}
	b.vars = vars
	state := eventlog.SecureBootOff
	// Without SecureBootEnable, edk2 turns Secure Boot on when there is a platform key.
	enable, set := vars[variableKey{guidSecureBootEnable, "SecureBootEnable"}]
	if len(vars.get(guidGlobal, "PK")) > 0 && (!set || bytes.Equal(enable, []byte{1})) {
		state = eventlog.SecureBootOn
	}
	if b.secure != eventlog.SecureBootUnknown && b.secure != state {
		return inputError("Secure Boot is said to be %s, by the variables it is %s", b.secure, state)
	}
	b.secure = state
	return nil
}

// configuration lists the variables of PCR 7.
func (b *builder) configuration() {
	const unknown = "no image of the firmware's variables is given"
	r := record{
		pcr: secureBootPCR, typ: eventlog.EFIVariableDriverConfig, note: "whether Secure Boot is on",
		data: variableData(guidGlobal, "SecureBoot", []byte{0}),
	}
	switch b.secure {
	case eventlog.SecureBootOn:
		r.data = variableData(guidGlobal, "SecureBoot", []byte{1})
	case eventlog.SecureBootUnknown:
		r.reason = unknown
	}
	b.add(r)
	for _, d := range databases {
		value := b.vars.get(d.guid, d.name)
		if d.optional && value == nil && b.vars != nil {
			continue
		}
		r := record{
			pcr: secureBootPCR, typ: eventlog.EFIVariableDriverConfig, data: variableData(d.guid, d.name, value),
			note: "Secure Boot database " + d.name, optional: d.optional,
		}
		if b.vars == nil {
			r.reason = unknown
		}
		b.add(r)
	}
	if b.fw.kind == platformUBoot {
		b.uBootModes()
	}
}

// uBootModes lists what U-Boot measures beside the databases: both modes are off as long as no keys are enrolled.
func (b *builder) uBootModes() {
	for _, name := range []string{"DeployedMode", "AuditMode"} {
		r := record{
			pcr: secureBootPCR, typ: eventlog.EFIVariableDriverConfig, data: variableData(guidGlobal, name, []byte{0}),
			note: "mode of Secure Boot",
		}
		if b.secure != eventlog.SecureBootOff {
			r.reason = "depends on how the keys were enrolled"
		}
		b.add(r)
	}
}

// authorities lists which entries of the databases let the programs run. Each entry is measured once, when it is used
// first.
func (b *builder) authorities() error {
	if b.secure == eventlog.SecureBootOff {
		b.shimAuthorities(nil)
		return nil
	}
	shim := b.has(programShim)
	var db []signature
	if b.vars != nil {
		var err error
		if db, err = parseDatabase(b.vars.get(guidDatabase, "db")); err != nil {
			return err
		}
	}
	a := &authority{b: b, db: db, measured: map[string]bool{}}
	for i, p := range b.chain {
		if shim == nil || i == 0 {
			a.firmware(p)
		}
		if p == shim {
			b.shimAuthorities(a)
		}
	}
	if len(b.chain) == 0 {
		b.notPredicted(secureBootPCR, "which key of db is used is not known without the programs that are booted")
	}
	return nil
}

// authority remembers what was measured.
type authority struct {
	b        *builder
	db       []signature
	measured map[string]bool
}

func (a *authority) add(r record) {
	if !a.measured[string(r.data)] {
		a.measured[string(r.data)] = true
		a.b.add(r)
	}
}

// firmware measures the entry of db that the firmware finds for a program.
func (a *authority) firmware(p *program) {
	name := cmp.Or(p.Path, "the program")
	r := record{pcr: secureBootPCR, typ: eventlog.EFIVariableAuthority, note: "entry of db that lets " + name + " run"}
	entry, err := findAuthority(p, a.db)
	switch {
	case a.b.vars == nil:
		r.reason = "no image of the firmware's variables is given"
		r.optional = a.b.secure == eventlog.SecureBootUnknown
	case err != nil:
		r.reason = err.Error()
	default:
		r.note += ": " + subject(entry)
		r.data = variableData(guidDatabase, "db", entry.raw)
	}
	if r.data == nil {
		r.data = variableData(guidDatabase, "db", nil)
	}
	a.add(r)
}

// findAuthority returns the entry of db that lets a program run, in the order in which edk2 looks: for each signature
// the certificates, then the digests.
func findAuthority(p *program, db []signature) (signature, error) {
	signed, err := p.signatures()
	if err != nil {
		return signature{}, inputError("the signature of %s cannot be read: %w", cmp.Or(p.Path, "the program"), err)
	}
	for _, s := range signed {
		for _, entry := range db {
			if entry.kind != guidCertX509 {
				continue
			}
			c, err := x509.ParseCertificate(entry.data())
			if err == nil && s.leadsTo(c) {
				return entry, nil
			}
		}
	}
	digest, err := p.pe.Authenticode(pcr.SHA256)
	if err != nil {
		return signature{}, err
	}
	for _, entry := range db {
		if entry.kind == guidCertSHA256 && bytes.Equal(entry.data(), digest) {
			return entry, nil
		}
	}
	return signature{}, inputError("no entry of db lets %s run: with Secure Boot on, the machine refuses it",
		cmp.Or(p.Path, "the program"))
}

func subject(s signature) string {
	if s.kind != guidCertX509 {
		return "its digest"
	}
	c, err := x509.ParseCertificate(s.data())
	if err != nil {
		return "a certificate"
	}
	return c.Subject.String()
}
