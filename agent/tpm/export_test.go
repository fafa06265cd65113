package tpm

// For the fuzz tests, whose seeds come from a swtpm and so live outside this package.
var (
	CutDER      = cutDER
	SplitAttest = splitAttest
	QuoteInfo   = quoteInfo
)
