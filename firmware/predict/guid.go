package predict

import "github.com/probity-attest/probity/firmware/image"

// GUIDs of variables, signatures and modules (UEFI 2.10, sections 3.3 and 32.4.1; edk2; shim's shim.h).
var (
	guidGlobal           = mustGUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
	guidDatabase         = mustGUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
	guidSecureBootEnable = mustGUID("f0a30bc7-af08-4556-99c4-001009c93a44")
	guidShimLock         = mustGUID("605dab50-e046-4300-abb6-3dd810dd8b23")
	guidCertX509         = mustGUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
	guidCertSHA256       = mustGUID("c1c41626-504c-4092-aca9-41f936934328")
	guidTcg2Pei          = mustGUID("a0c98b77-cba5-4bb8-993b-4af6ce33ece4")
	guidPayload          = mustGUID("55c5d1f8-04cd-46b5-8a20-e56cbb3052d0") // of systemd-stub's kernel
	guidInitrdMedia      = mustGUID("5568e427-68fc-4f3d-ac74-ca555231cc68") // of Linux's initial RAM disk
)

func mustGUID(s string) image.GUID {
	g, err := image.ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}
