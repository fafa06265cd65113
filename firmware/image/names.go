package image

// knownName returns what people call a GUID, "" if it is not in the table. Modules that carry a name of their own are
// called by that; most of a PEI volume does not.
func knownName(g GUID) string { return knownNames[g] }

var knownNames = func() map[GUID]string {
	out := make(map[GUID]string, len(knownList))
	for _, k := range knownList {
		out[mustGUID(k.guid)] = k.name
	}
	return out
}()

// knownList are GUIDs of UEFI and PI and of edk2's packages, as their .dec, .inf and .fdf files define them.
var knownList = []struct{ guid, name string }{
	// File systems and volumes.
	{"7a9354d9-0468-444a-81ce-0bf617d890df", "FFS1"},
	{"8c8ce578-8a3d-4f1c-9935-896185c32dd3", "FFS2"},
	{"5473c07a-3dcb-4dca-bd6f-1e9689e7349a", "FFS3"},
	{"fff12b8d-7696-4c8b-a985-2747075b4f50", "NVRAM"},
	{"763bed0d-de9f-48f5-81f1-3e90e1b1a015", "SECFV"},
	{"48db5e17-707c-472d-91cd-1613e7ef51b0", "FVMAIN_COMPACT"},
	{"6938079b-b503-4e3d-9d24-b28337a25806", "PEIFV"},
	{"7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1", "DXEFV"},
	{"9e21fd93-9c72-4c15-8c4b-e77f1db2d792", "FVMAIN_COMPACT file"},

	// Encapsulations and NVRAM.
	{"ee4e5898-3914-4259-9d6e-dc7bd79403cf", "LZMA"},
	{"d42ae6bd-1352-4bfb-909a-ca72a6eae889", "LZMA x86"},
	{"a31280ad-481e-41b6-95e8-127f4c984779", "Tiano"},
	{"3d532050-5cda-4fd0-879e-0f7f630d5afb", "Brotli"},
	{"fc1bcdb0-7d31-49aa-936a-a4600d9dd083", "CRC-32"},
	{"ddcf3616-3275-4164-98b6-fe85707ffe7d", "variables"},
	{"aaf32c78-947b-439a-a180-2e144ec37792", "authenticated variables"},
	{"9e58292b-7c68-497d-a0ce-6500fd9f1b95", "fault tolerant write block"},

	// Owners of variables.
	{"8be4df61-93ca-11d2-aa0d-00e098032b8c", "EFI global variable"},
	{"d719b2cb-3d3a-4596-a3bc-dad00e67656f", "EFI image security database"},

	// Architectural protocols, which dependency expressions name.
	{"26baccb1-6f42-11d4-bce7-0080c73c8881", "EfiCpuArchProtocol"},
	{"26baccb2-6f42-11d4-bce7-0080c73c8881", "EfiMetronomeArchProtocol"},
	{"26baccb3-6f42-11d4-bce7-0080c73c8881", "EfiTimerArchProtocol"},
	{"665e3ff6-46cc-11d4-9a38-0090273fc14d", "EfiBdsArchProtocol"},
	{"665e3ff5-46cc-11d4-9a38-0090273fc14d", "EfiWatchdogTimerArchProtocol"},
	{"b7dfb4e1-052f-449f-87be-9818fc91b733", "EfiRuntimeArchProtocol"},
	{"a46423e3-4617-49f1-b9ff-d1bfa9115839", "EfiSecurityArchProtocol"},
	{"1e5668e2-8481-11d4-bcf1-0080c73c8881", "EfiVariableArchProtocol"},
	{"6441f818-6362-4e44-b570-7dba31dd2453", "EfiVariableWriteArchProtocol"},
	{"1da97072-bddc-4b30-99f1-72a0b56fff2a", "EfiMonotonicCounterArchProtocol"},
	{"27cfac87-46cc-11d4-9a38-0090273fc14d", "EfiRealTimeClockArchProtocol"},
	{"27cfac88-46cc-11d4-9a38-0090273fc14d", "EfiResetArchProtocol"},
	{"11b34006-d85b-4d0a-a290-d5a571310ef7", "PcdProtocol"},

	// Modules.
	{"df1ccef6-f301-4a63-9661-fc6030dcc880", "SecMain"},
	{"52c05b14-0b98-496c-bc3b-04b50211d680", "PeiCore"},
	{"d6a2cb7f-6a18-4e2f-b43b-9920a733700a", "DxeCore"},
	{"86d70125-baa3-4296-a62f-602bebbb9081", "DxeIpl"},
	{"9b3ada4f-ae56-4c24-8dea-f03b7558ae50", "PcdPeim"},
	{"80cf7257-87ab-47f9-a3fe-d50b76d89541", "PcdDxe"},
	{"222c386d-5abc-4fb4-b124-fbb82488acf4", "PlatformPei"},
	{"edadeb9d-ddba-48bd-9d22-c1c169c8c5c6", "CpuMpPei"},
	{"89e549b0-7cfe-449d-9ba3-10d8b2312d71", "S3Resume2Pei"},
	{"a3610442-e69f-4df3-82ca-2360c4031a23", "ReportStatusCodeRouterPei"},
	{"9d225237-fa01-464c-a949-baabc02d31d0", "StatusCodeHandlerPei"},
	{"adf01bf6-47d6-495d-b95b-687777807214", "FirmwarePerformancePei"},
	{"a0c98b77-cba5-4bb8-993b-4af6ce33ece4", "Tcg2Pei"},
	{"2be1e4a6-6505-43b3-9ffc-a3c8330e0432", "TcgPei"},
	{"bf7f2b0c-9f2f-4889-ab5c-12460022be87", "Tcg2ConfigPei"},
	{"4d9cbef0-15a0-4d0c-83db-5213e710c23f", "Tcg2ConfigDxe"},
	{"fdff263d-5f68-4591-87ba-b768f445a9af", "Tcg2Dxe"},
	{"a5683620-7998-4bb2-a377-1c1e31e1e215", "TcgDxe"},
	{"f80697e9-7fd6-4665-8646-88e33ef71dfc", "SecurityStubDxe"},
	{"f0e6a44f-7195-41c3-ac64-54f202cd0a21", "SecureBootConfigDxe"},
	{"cbd2e4d5-7068-4ff5-b462-9822b4ad8d60", "VariableRuntimeDxe"},
	{"23a089b3-eed5-4ac5-b2ab-43e3298c2343", "VariableSmm"},
	{"fe5cea76-4f72-49e8-986f-2cd899dffe5d", "FaultTolerantWriteDxe"},
	{"6d33944a-ec75-4855-a54d-809c75241f6c", "BdsDxe"},
	{"7c04a583-9e3e-4f1c-ad65-e05268d0b4d1", "Shell"},
	{"462caa21-7614-4503-836e-8ab6f4662331", "UiApp"},
	{"eec25bdc-67f2-4d95-b1d5-f81b2039d11d", "BootManagerMenuApp"},
	{"e94f54cd-81eb-47ed-aec3-856f5dc157a9", "PiSmmCore"},
	{"a3ff0ef5-0c28-42f5-b544-8c7de1e80014", "PiSmmCpuDxeSmm"},
	{"2fa2a6da-11d5-4dc3-999a-749648b03c56", "PiSmmIpl"},
	{"b601f8c4-43b7-4784-95b1-f4226cb40cee", "RuntimeDxe"},
	{"1a1e4886-9517-440e-9fde-3be44cee2136", "CpuDxe"},
	{"128fb770-5e79-4176-9e51-9bb268a17dd1", "PciHostBridgeDxe"},
	{"93b80004-9fb3-11d4-9a3a-0090273fc14d", "PciBusDxe"},
	{"9622e42c-8e38-4a08-9e8f-54f784652f6b", "AcpiTableDxe"},
	{"f9d88642-0737-49bc-81b5-6889cd57d9ea", "SmbiosDxe"},
	{"961578fe-b6b7-44c3-af35-6bc705cd2b1f", "Fat"},
	{"1fa1f39e-feff-4aae-bd7b-38a070a3b609", "PartitionDxe"},
	{"6b38f7b4-ad98-40e9-9093-aca2b5a253c4", "DiskIoDxe"},
	{"5be3bdf4-53cf-46a3-a6a9-73c34a6e5ee3", "NvmExpressDxe"},
	{"b7f50e91-a759-412c-ade4-dcd03e7f7c28", "XhciDxe"},
	{"240612b7-a063-11d4-9a3a-0090273fc14d", "UsbBusDxe"},
	{"a2f436ea-a127-4ef8-957c-8048606ff670", "SnpDxe"},
	{"2366c20f-e15a-11e3-8bf1-e4115b28bc50", "HttpDxe"},
	{"ecebcb00-d9c8-11e4-af3d-8cdcd426c973", "HttpBootDxe"},
	{"3aceb0c0-3c72-11e4-9a56-74d435052646", "TlsDxe"},
	{"b95e9fda-26de-48d2-8807-1f9107ac5e3a", "UefiPxeBcDxe"},
	{"42857f0a-13f2-4b21-8a23-53d3f714b840", "CapsuleRuntimeDxe"},
	{"999bd818-7df7-4a9a-a502-9b75033e6a0f", "EsrtDxe"},
	{"4b28e4c7-ff36-4e10-93cf-a82159e777c5", "ResetSystemRuntimeDxe"},
	{"7bb28b99-61bb-11d5-9a5d-0090273fc14d", "Logo"},
	{"348c4d62-bfbd-4882-9ece-c80bb1c4783b", "HiiDatabase"},
	{"ebf342fe-b1d3-4ef8-957c-8048606ff671", "SetupBrowser"},
	{"408edcec-cf6d-477c-a5a8-b4844e3de281", "ConSplitterDxe"},
	{"9e863906-a40f-4875-977f-5b93ff237fc6", "TerminalDxe"},
	{"e3752948-b9a1-4770-90c4-df41c38986be", "QemuVideoDxe"},
	{"fa20568b-548b-4b2b-81ef-1ba08d4a3cec", "BootScriptExecutorDxe"},
	{"469fc080-aec1-11df-927c-0002a5d5c51b", "ArmPlatformPrePeiCore"},
	{"b8d9777e-d72a-451f-9bdb-bafb52a68415", "ArmCpuDxe"},
	{"de371f7c-dec4-4d21-adf1-593abcc15882", "ArmGicDxe"},
	{"49ea041e-6752-42ca-b0b1-7344fe2546b7", "ArmTimerDxe"},
}
