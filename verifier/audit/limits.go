package audit

// maxLine is the most bytes of a line of an export that Verify takes. The verifier writes less than 8 KiB.
const maxLine = 64 << 10
