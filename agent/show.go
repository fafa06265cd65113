package agent

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// Shown is what would leave the device if a verifier asked now. Nothing else ever does, apart from the signatures that
// bind it to the verifier's nonce.
type Shown struct {
	Device   string         `json:"device"`
	Identity ShownIdentity  `json:"identity"`
	Agent    string         `json:"agent"`
	BootID   string         `json:"boot_id"`
	MayLeave string         `json:"may_leave"` // the charter
	Bank     string         `json:"bank,omitempty"`
	PCRs     map[int]string `json:"pcrs,omitempty"` // hexadecimal; the verifier selects which are sent
	BootLog  ShownContent   `json:"boot_log"`
	IMA      ShownIMA       `json:"ima"`
	Platform *ShownPlatform `json:"platform,omitempty"`
	Withheld string         `json:"platform_withheld,omitempty"`
	Flash    *ShownFlash    `json:"flash,omitempty"` // nil: there is none, or none is read
	Tamper   []ShownTamper  `json:"tamper,omitempty"`
}

// ShownIdentity is the identity that enrolment sends.
type ShownIdentity struct {
	Kind         string `json:"kind"`              // "tpm" or "software"
	Public       string `json:"public"`            // TPMT_PUBLIC of the EK or SubjectPublicKeyInfo, hexadecimal
	Profile      string `json:"profile,omitempty"` // kind of EK
	Certificates int    `json:"certificates"`      // EK certificates in the TPM
}

// ShownContent is content that is named by digest, and sent where the verifier has never seen it.
type ShownContent struct {
	Digest      string `json:"digest,omitempty"`
	Size        int    `json:"size,omitempty"`   // bytes
	Events      int    `json:"events,omitempty"` // without the header
	Malformed   string `json:"malformed,omitempty"`
	Unavailable string `json:"unavailable,omitempty"`
}

// ShownIMA is the state of the IMA list.
type ShownIMA struct {
	Entries     uint64 `json:"entries"`
	Unavailable string `json:"unavailable,omitempty"`
}

// ShownPlatform is proto.Platform with names.
type ShownPlatform struct {
	Vendor          string                  `json:"vendor,omitempty"`
	Model           string                  `json:"model,omitempty"`
	Board           string                  `json:"board,omitempty"`
	FirmwareVendor  string                  `json:"firmware_vendor,omitempty"`
	FirmwareVersion string                  `json:"firmware_version,omitempty"`
	FirmwareDate    string                  `json:"firmware_date,omitempty"`
	Architecture    string                  `json:"architecture,omitempty"`
	Kernel          string                  `json:"kernel,omitempty"`
	CommandLine     string                  `json:"command_line,omitempty"`
	OS              string                  `json:"os,omitempty"`
	SecureBoot      string                  `json:"secure_boot,omitempty"`
	Firmware        []proto.FirmwareVersion `json:"firmware,omitempty"`
	Unavailable     map[string]string       `json:"unavailable,omitempty"`
	Devices         []proto.BusDevice       `json:"devices,omitempty"`
}

// Show collects what would leave the device. It contacts nobody, and waits until flash is read.
func (a *Agent) Show(ctx context.Context) (*Shown, error) {
	out := &Shown{Device: a.ID(), Agent: a.version, MayLeave: a.report.charter.String()}
	if err := a.showIdentity(out); err != nil {
		return nil, err
	}
	var err error
	if out.Flash, err = a.showFlash(ctx); err != nil {
		return nil, err
	}
	out.Tamper = a.showTamper(ctx)
	boot, err := a.report.collect.BootID()
	if err != nil {
		return nil, fmt.Errorf("boot id: %w", err)
	}
	out.BootID = hex.EncodeToString(boot)
	if a.report.tpm != nil {
		if err := a.showPCRs(out); err != nil {
			return nil, err
		}
	}
	contents := map[proto.Digest]content{}
	out.BootLog = a.showBootLog(ctx, contents)
	if un := a.report.charter.IMA(); un != nil {
		out.IMA.Unavailable = un.Error()
	} else if n, un := a.report.collect.IMACount(ctx); un != nil {
		out.IMA.Unavailable = un.Error()
	} else {
		out.IMA.Entries = n
	}
	p, un := a.report.charter.Platform(a.report.collect.Platform())
	if un != nil {
		out.Withheld = un.Error()
		return out, nil
	}
	shown := ShownPlatform(p)
	out.Platform = &shown
	return out, nil
}

func (a *Agent) showIdentity(out *Shown) error {
	switch d := a.device.(type) {
	case *tpmDevice:
		out.Identity = ShownIdentity{
			Kind: IdentityTPM, Public: hex.EncodeToString(d.endorsement), Certificates: len(d.certificates),
			Profile: a.profile,
		}
	case *softwareDevice:
		out.Identity = ShownIdentity{Kind: IdentitySoftware, Public: hex.EncodeToString(d.public)}
	default:
		return fmt.Errorf("show: no description of %T", d)
	}
	return nil
}

// showPCRs reads the bank that a verifier gets if it offers all, as it does.
func (a *Agent) showPCRs(out *Shown) error {
	bank, err := a.report.bank(&proto.Challenge{Banks: []uint16{uint16(pcr.SHA256), uint16(pcr.SHA384), uint16(pcr.SHA1)}})
	if err != nil {
		return err
	}
	values, err := a.report.tpm.ReadPCRs(bank, pcr.All)
	if err != nil {
		return fmt.Errorf("PCR values: %w", err)
	}
	out.Bank, out.PCRs = bank.String(), map[int]string{}
	for _, i := range values.Present().Indices() {
		out.PCRs[i] = hex.EncodeToString(values.Value(i))
	}
	return nil
}

func (a *Agent) showBootLog(ctx context.Context, contents map[proto.Digest]content) ShownContent {
	item := a.report.bootLog(contents)
	if item.Unavailable != nil {
		return ShownContent{Unavailable: item.Unavailable.Error()}
	}
	out := ShownContent{Digest: item.Content.Digest.String(), Size: int(item.Content.Size)}
	b, err := contents[item.Content.Digest](ctx)
	if err != nil {
		out.Malformed = err.Error()
		return out
	}
	l, err := eventlog.Parse(b)
	if err != nil { // it is sent all the same: the verifier judges
		out.Malformed = err.Error()
		return out
	}
	out.Events = len(l.Events)
	return out
}

// Write prints s for people.
func (s *Shown) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, printable(value))
		}
	}
	row("device", s.Device)
	row("identity", s.Identity.describe())
	row("agent", s.Agent)
	row("boot id", s.BootID)
	row("may leave", s.MayLeave)
	row("boot log", s.BootLog.describe())
	if s.IMA.Unavailable != "" {
		row("IMA list", "not available: "+s.IMA.Unavailable)
	} else {
		row("IMA list", strconv.FormatUint(s.IMA.Entries, 10)+" entries")
	}
	if s.Withheld != "" {
		row("platform", "not available: "+s.Withheld)
	}
	if s.Platform != nil {
		s.Platform.rows(row)
	}
	if s.Flash != nil {
		s.Flash.rows(row)
	}
	for _, l := range s.Tamper {
		row("tamper "+l.Name, l.describe())
	}
	for _, i := range slices.Sorted(maps.Keys(s.PCRs)) {
		row(fmt.Sprintf("PCR %d %s", i, s.Bank), s.PCRs[i])
	}
	return t.Flush()
}

func (s ShownIdentity) describe() string {
	if s.Kind == IdentitySoftware {
		return "software: a key on disk"
	}
	return fmt.Sprintf("TPM, endorsement key %s, certificates: %d", s.Profile, s.Certificates)
}

func (s ShownContent) describe() string {
	switch {
	case s.Unavailable != "":
		return "not available: " + s.Unavailable
	case s.Malformed != "":
		return fmt.Sprintf("sha256:%s, %d bytes, not understood here: %s", s.Digest, s.Size, s.Malformed)
	}
	return fmt.Sprintf("sha256:%s, %d bytes, %d events", s.Digest, s.Size, s.Events)
}

func (s *ShownPlatform) rows(row func(name, value string)) {
	row("vendor", s.Vendor)
	row("model", s.Model)
	row("board", s.Board)
	row("firmware", strings.TrimSpace(strings.Join([]string{s.FirmwareVendor, s.FirmwareVersion, s.FirmwareDate}, " ")))
	row("architecture", s.Architecture)
	row("kernel", s.Kernel)
	row("command line", s.CommandLine)
	row("OS", s.OS)
	row("Secure Boot", s.SecureBoot)
	for _, f := range s.Firmware {
		row("firmware "+f.Class, fmt.Sprintf("version %d, lowest supported %d", f.Version, f.Lowest))
	}
	for _, d := range s.Devices {
		row(d.Bus+" "+d.Address, d.Name)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Unavailable)) {
		row(k, "not available: "+s.Unavailable[k])
	}
}

// printable keeps what a firmware wrote into its tables from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
