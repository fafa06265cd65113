package eventlog

import "fmt"

// Sizes of the GUID partition table (UEFI 2.10, section 5.3).
const (
	gptHeaderSize = 92
	gptEntrySize  = 128
)

// describeGPT decodes a UEFI_GPT_DATA (PFP section 10.2.5): the header of a GUID partition table and its used entries.
func describeGPT(e *Event) Description {
	const kind = "partition table"
	r := reader{b: e.Data}
	h := reader{b: r.take(gptHeaderSize)}
	signature := h.take(8)
	h.take(48)
	disk := h.guid()
	h.take(12)
	entrySize := uint64(h.u32())
	count := r.u64()
	if r.bad || h.bad || string(signature) != "EFI PART" || entrySize < gptEntrySize {
		return unknown(kind, e.Data)
	}
	d := Description{Kind: kind, Name: disk.String(), Fields: map[string]any{"disk": disk.String(), "partitions": count}}
	var list []map[string]any
	for i := uint64(0); i < count && i < maxListed; i++ {
		entry := r.take(entrySize)
		if entry == nil {
			d.Fields["problem"] = "partition entries are cut off"
			break
		}
		list = append(list, describePartition(entry))
	}
	d.Fields["entries"] = list
	d.Detail = fmt.Sprintf("disk %s, %d partitions", disk, count)
	return d
}

func describePartition(entry []byte) map[string]any {
	r := reader{b: entry}
	kind, id, first, last, attributes := r.guid(), r.guid(), r.u64(), r.u64(), r.u64()
	return map[string]any{
		"type": kind.name(), "id": id.String(), "first_lba": first, "last_lba": last,
		"attributes": hexNumber(attributes), "name": safeUTF16(r.take(72), maxSlot),
	}
}
