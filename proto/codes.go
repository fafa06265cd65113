package proto

// Codes of Receipt.Code, with which a verifier says why evidence was rejected. An agent shows the code and the reasons;
// apart from CodeNonceExpired, after which it asks again at once, it treats all of them, and codes that it does not
// know, alike.
const (
	CodeNonceExpired  = "nonce-expired"     // fresh when sent, too old when it arrived
	CodeNonceForeign  = "nonce-foreign"     // not issued by this verifier for this device
	CodeNonceReplayed = "nonce-replayed"    // not newer than the last accepted one
	CodeMalformed     = "malformed"         // not the message that it should be
	CodeSignature     = "signature-invalid" // not signed by the device's attestation key
	CodeNotEnrolled   = "not-enrolled"      // the verifier does not know the device (any more)
	CodeSelection     = "selection"         // other PCRs, or another bank, than were asked for
	CodePCRValues     = "pcr-values"        // the values do not give the quoted digest
	CodeOutOfSync     = "out-of-sync"       // refers to a state that the verifier does not have; a new challenge follows
)
