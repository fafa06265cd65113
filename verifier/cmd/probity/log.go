package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
)

// textWidth is the most characters of one cell that repeats what a machine says, shortDigest the digits of a digest that
// people compare by eye. JSON and YAML have both in full.
const (
	textWidth   = 100
	shortDigest = 16
)

func (a *app) logCommand() *cobra.Command {
	var bank string
	show := &cobra.Command{
		Use:   "show FILE",
		Short: "Show a boot event log and the PCR values that it replays to",
		Long: `Show a boot event log (TCG event log) and the PCR values that it replays to. Nothing in it is verified: it is what a
machine says of itself. On Linux the file is /sys/kernel/security/tpm0/binary_bios_measurements; - is standard input.`,
		Args: need("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.showLog(cmd, args[0], bank) },
	}
	show.Flags().StringVar(&bank, "bank", "", "PCR bank whose digests the table shows, such as sha256")
	return group("log", "Explain boot event logs, offline", show)
}

func (a *app) showLog(cmd *cobra.Command, name, bank string) error {
	b, err := a.readFile(name, eventlog.MaxSize)
	if err != nil {
		return err
	}
	log, err := eventlog.Parse(b)
	if err != nil {
		return fmt.Errorf("%s: %w", shownName(name), err)
	}
	alg, err := chooseBank(log.Banks, bank)
	if err != nil {
		return usagef(cmd, "--bank: %v", err)
	}
	return a.print(log.View(), func(w io.Writer) error { return a.writeLog(w, log, alg) })
}

// chooseBank returns the bank to show: the one asked for, else the one that verifiers prefer.
func chooseBank(banks []pcr.Algorithm, name string) (pcr.Algorithm, error) {
	if name != "" {
		alg, err := pcr.ParseAlgorithm(name)
		if err == nil && !slices.Contains(banks, alg) {
			err = fmt.Errorf("the log has no %s bank; it has %v", alg, banks)
		}
		return alg, err
	}
	for _, alg := range []pcr.Algorithm{pcr.SHA256, pcr.SHA384} {
		if slices.Contains(banks, alg) {
			return alg, nil
		}
	}
	if len(banks) == 0 {
		return 0, errors.New("the log declares no bank")
	}
	return banks[0], nil
}

func (a *app) writeLog(w io.Writer, log *eventlog.Log, alg pcr.Algorithm) error {
	t := a.table("EVENT", "PCR", "TYPE", "WHAT", alg.String())
	t.width = textWidth
	for i := range log.Events {
		e := &log.Events[i]
		d := e.Describe()
		what := d.String()
		if d.Detail != "" && d.Detail != d.Name {
			what += ": " + d.Detail
		}
		t.add(strconv.Itoa(e.Number), strconv.FormatUint(uint64(e.PCR), 10), e.Type.String(), what, short(e.Digest(alg)))
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, bank := range log.Banks {
		values, err := log.Replay(bank)
		if err != nil {
			a.say("bank %s is not replayed: %v", bank, err)
			continue
		}
		if err := a.writePCRs(w, bank.String(), values.Strings()); err != nil {
			return err
		}
		if v := log.ReplayHCRTM(bank); v != nil {
			a.say("%s PCR 0 is %x instead if the H-CRTM of event 1 ran before the TPM's startup", bank, v)
		}
	}
	return nil
}

// writePCRs writes PCR values by decimal index under a heading.
func (a *app) writePCRs(w io.Writer, bank string, values map[string]string) error {
	if len(values) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	t := a.table("PCR", bank)
	for _, i := range indices(values) {
		t.add(i, values[i])
	}
	return t.write(w)
}

// indices returns decimal indices in numeric order.
func indices[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for i := range m {
		out = append(out, i)
	}
	slices.SortFunc(out, func(x, y string) int {
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		return slices.Compare([]byte(x), []byte(y))
	})
	return out
}

func short(digest []byte) string { return clipDigest(hex.EncodeToString(digest)) }

func clipDigest(s string) string { return s[:min(len(s), shortDigest)] }
