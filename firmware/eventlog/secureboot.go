package eventlog

// SecureBootState says whether UEFI Secure Boot was enforced during a boot.
type SecureBootState int

// States of Secure Boot.
const (
	SecureBootUnknown SecureBootState = iota // not measured, measured twice, or data that is not bound
	SecureBootOff
	SecureBootOn
)

// String returns "unknown", "off" or "on".
func (s SecureBootState) String() string {
	switch s {
	case SecureBootOff:
		return "off"
	case SecureBootOn:
		return "on"
	}
	return "unknown"
}

// secureBootPCR is where firmware measures its Secure Boot policy (PFP section 3.3.4.8).
const secureBootPCR = 7

// secureBootState reads the variable's value. A variable that does not exist is measured without data: that firmware
// does not know Secure Boot.
func secureBootState(value []byte) SecureBootState {
	switch {
	case len(value) == 0, len(value) == 1 && value[0] == 0:
		return SecureBootOff
	case len(value) == 1 && value[0] == 1:
		return SecureBootOn
	}
	return SecureBootUnknown
}

// SecureBoot returns the state that the firmware measured into PCR 7 and the event that says so, nil if the state is
// unknown.
//
// It reads the one EV_EFI_VARIABLE_DRIVER_CONFIG event of the variable SecureBoot (UEFI 2.10, section 3.3) before the
// separator of PCR 7, whose data must hash to its digest. What comes after the separator is not of the firmware: any
// program can extend PCR 7 with a digest of its choice.
func (v *Verified) SecureBoot() (SecureBootState, *Event) {
	var found *Event
	state := SecureBootUnknown
	for i := range v.log.Events {
		e := &v.log.Events[i]
		if e.PCR != secureBootPCR || !e.Extends() {
			continue
		}
		if e.Type == Separator {
			break
		}
		if e.Type != EFIVariableDriverConfig {
			continue
		}
		va, ok := parseVariable(e.Data)
		if !ok || va.guid != guidGlobalVariable || va.rawName() != "SecureBoot" {
			continue
		}
		if found != nil {
			return SecureBootUnknown, nil
		}
		found = e
		if va.extra == 0 && e.DataMatches(v.quoted.Algorithm()) {
			state = secureBootState(va.data)
		}
	}
	if state == SecureBootUnknown {
		return SecureBootUnknown, nil
	}
	return state, found
}
