package eventlog

import (
	"fmt"
	"strings"
)

// tagNames names tagged events of Linux (drivers/firmware/efi/libstub) and systemd (src/fundamental/tpm2-pcr.h).
var tagNames = map[uint32]string{
	0x8f3b22ec: "Linux initrd",
	0x8f3b22ed: "Linux load options",
	0xf5bc582a: "systemd-boot configuration",
	0x6c46f751: "systemd-stub devicetree add-on",
	0x49dffe0f: "systemd-stub initrd add-on",
	0xdac08e1a: "systemd-stub microcode add-on",
	0x13aed6db: "systemd-stub profile",
}

// Windows' boot configuration log nests tagged events: a set bit 30 marks a container ("SIPAEVENTTYPE_AGGREGATION").
const tagContainer = 0x40000000

// taggedEvent is one TCG_PCClientTaggedEvent (PFP section 10.4.2.1).
type taggedEvent struct {
	id   uint32
	data []byte
}

// parseTags reads a sequence of tagged events that fills b exactly.
func parseTags(b []byte, limit int) ([]taggedEvent, bool) {
	var out []taggedEvent
	r := reader{b: b}
	for len(r.b) > 0 {
		id := r.u32()
		t := taggedEvent{id: id, data: r.take(uint64(r.u32()))}
		if r.bad || len(out) == limit {
			return nil, false
		}
		out = append(out, t)
	}
	return out, len(out) > 0
}

func describeTag(e *Event) Description {
	tags, ok := parseTags(e.Data, maxTags)
	if !ok {
		return unknown("tagged event", e.Data)
	}
	first := tags[0]
	if name, ok := tagNames[first.id]; ok && len(tags) == 1 {
		return Description{Kind: "tagged event", Name: name, Detail: textOrHex(first.data), Fields: map[string]any{
			"tag": hexNumber(uint64(first.id)), "text": textOrHex(first.data),
		}}
	}
	left := maxTags
	fields := map[string]any{"items": listTags(tags, 0, &left)}
	name := fmt.Sprintf("%#08x", first.id)
	if first.id&tagContainer != 0 || e.PCR >= pcrUKI {
		return Description{
			Kind: "Windows boot configuration", Name: name, Fields: fields,
			Detail: fmt.Sprintf("%d items", maxTags-left),
		}
	}
	return Description{Kind: "tagged event", Name: name, Detail: textOrHex(first.data), Fields: fields}
}

// listTags prints tags and the tags in containers, no deeper than maxTagDepth and no more than *left in all.
func listTags(tags []taggedEvent, depth int, left *int) []string {
	var out []string
	for _, t := range tags {
		if *left == 0 {
			break
		}
		*left--
		indent := strings.Repeat("  ", depth)
		if t.id&tagContainer != 0 && depth < maxTagDepth {
			if inner, ok := parseTags(t.data, *left); ok {
				out = append(out, fmt.Sprintf("%s%#08x:", indent, t.id))
				out = append(out, listTags(inner, depth+1, left)...)
				continue
			}
		}
		out = append(out, fmt.Sprintf("%s%#08x %s", indent, t.id, shortTextOrHex(t.data)))
	}
	return out
}

func shortTextOrHex(b []byte) string {
	if s, ok := anyText(b, maxSlot); ok {
		return s
	}
	return hexText(b)
}
