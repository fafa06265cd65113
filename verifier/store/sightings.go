package store

import (
	"context"
	"time"
)

// Kinds of what a device was seen with.
const (
	SeenBoot  = "boot"  // a boot log
	SeenPCRs  = "pcrs"  // PCR values of a boot
	SeenFiles = "files" // a part of an IMA list
	SeenFlash = "flash" // flash regions
)

// Seen is something that evidence of a device referred to and that has digests in it. Many devices may have the same:
// it is indexed once, by its own digest.
type Seen struct {
	Content [32]byte // SHA-256 of what was seen
	Kind    string
	Group   string // what is seen of devices of one group is alike, which the index makes use of
	// Digests are those in it. They are only read where the content is not Indexed yet.
	Digests []SeenDigest
	// GUIDs are those that it names, 16 bytes in the order of their text; likewise.
	GUIDs []SeenDigest
}

// SeenDigest is a digest and the place where it was found, for people.
type SeenDigest struct {
	Digest []byte
	Place  string
}

// Sighting is a digest on a device.
type Sighting struct {
	Seq     int64 // for the next page
	Device  string
	Label   string // of the device
	Kind    string
	Place   string // empty in what SightingsOf returns
	Content [32]byte
	First   time.Time // when evidence first had it
	Until   time.Time // when evidence no longer had it; zero: the newest evidence that speaks of this kind has it
}

// Sightings tells which devices ever had a digest. It is written by Record.
type Sightings interface {
	// Indexed reports whether the digests of a content are known.
	Indexed(ctx context.Context, content [32]byte) (bool, error)
	// Sightings returns the sightings of a digest in a tenant in ascending Seq, after the one given. limit is as in
	// PageSize.
	Sightings(ctx context.Context, tenant string, digest []byte, after int64, limit int) ([]Sighting, error)
	// SightingsOf returns what a device has now, in the order in which it was first seen.
	SightingsOf(ctx context.Context, tenant, device string) ([]Sighting, error)
}
