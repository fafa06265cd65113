package image

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Layout of a volume (Microsoft FAT32 File System Specification, version 1.03). A cluster is one sector: FAT32 has at
// least fat32Clusters of them, and such a volume is the smallest.
const (
	reservedSectors = 32
	fatCopies       = 2
	infoSector      = 1
	backupSector    = 6
	rootCluster     = 2     // where clusters begin, too
	fat32Clusters   = 65525 // with fewer, it would be FAT16
	spareClusters   = 1024  // left free
	maxClusters     = 1 << 21
	clusterEnd      = 0x0fffffff
	mediaFixed      = 0xf8
	volumeID        = 0x9b0b1701
	volumeLabel     = "ESP        "
)

// volume is a FAT32 volume: files in clusters one behind the other.
type volume struct {
	root     *node
	next     int // first free cluster
	clusters int
}

// node is a file or folder.
type node struct {
	name     string
	data     []byte           // of a file
	children map[string]*node // of a folder; nil for a file
	cluster  int              // the first, 0 for an empty file
	entries  []byte           // of a folder
}

// newVolume places files in clusters.
func newVolume(files map[string][]byte) (*volume, error) {
	v := &volume{root: &node{children: make(map[string]*node)}, next: rootCluster}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name == "" || name[0] == '/' || path.Clean(name) != name || strings.HasPrefix(name, "..") {
			return nil, fmt.Errorf("file %q: want a relative path", name)
		}
		if err := v.root.add(name, files[name]); err != nil {
			return nil, err
		}
	}
	if err := v.place(v.root, v.root); err != nil {
		return nil, err
	}
	v.clusters = max(v.next-rootCluster+spareClusters, fat32Clusters)
	if v.clusters > maxClusters {
		return nil, fmt.Errorf("volume of %d MiB: the limit is %d", v.clusters>>11, maxClusters>>11)
	}
	return v, nil
}

// add puts a file into the tree below a folder.
func (n *node) add(name string, data []byte) error {
	for {
		dir, rest, more := strings.Cut(name, "/")
		// Names that differ only in case are one name.
		key := strings.ToUpper(dir)
		child := n.children[key]
		switch {
		case !more && child != nil:
			return fmt.Errorf("file %q: the name is there already", name)
		case !more:
			n.children[key] = &node{name: dir, data: data}
			return nil
		case child == nil:
			child = &node{name: dir, children: make(map[string]*node)}
			n.children[key] = child
		case child.children == nil:
			return fmt.Errorf("folder %q: a file has that name", dir)
		}
		n, name = child, rest
	}
}

// place gives a folder and what is in it their clusters, the folder first, and writes the folder's entries.
func (v *volume) place(n, parent *node) error {
	names := slices.Sorted(maps.Keys(n.children))
	long := make([][]byte, len(names)) // entries with a child's name, the last one without cluster and size
	size := 0
	for i, key := range names {
		var err error
		if long[i], err = nameEntries(n.children[key].name, i+1); err != nil {
			return err
		}
		size += len(long[i])
	}
	// The root begins with the volume's label, any other folder with itself and the one above.
	size += entrySize
	if n != v.root {
		size += entrySize
	}
	n.cluster = v.allocate(size + entrySize) // an empty entry ends it
	if n == v.root {
		n.entries = entry(volumeLabel, attrVolume, 0, 0)
	} else {
		up := parent.cluster
		if parent == v.root {
			up = 0
		}
		n.entries = append(entry(".          ", attrFolder, n.cluster, 0), entry("..         ", attrFolder, up, 0)...)
	}
	for i, key := range names {
		child := n.children[key]
		e := long[i][len(long[i])-entrySize:]
		if child.children != nil {
			if err := v.place(child, n); err != nil {
				return err
			}
			e[11] = attrFolder
		} else {
			child.cluster = v.allocate(len(child.data))
			le.PutUint32(e[28:], uint32(len(child.data)))
		}
		putCluster(e, child.cluster)
		n.entries = append(n.entries, long[i]...)
	}
	return nil
}

// allocate takes clusters for size bytes and returns the first, 0 for none.
func (v *volume) allocate(size int) int {
	if size == 0 {
		return 0
	}
	first := v.next
	v.next += clustersFor(size)
	return first
}

func clustersFor(size int) int { return (size + sectorSize - 1) / sectorSize }

// fatSectors is the size of one allocation table.
func (v *volume) fatSectors() int { return ((rootCluster+v.clusters)*4 + sectorSize - 1) / sectorSize }

// sectors is the volume's size.
func (v *volume) sectors() int { return reservedSectors + fatCopies*v.fatSectors() + v.clusters }

// write writes the volume into b, zero bytes of its size.
func (v *volume) write(b []byte) {
	v.writeBootSector(b)
	copy(b[backupSector*sectorSize:], b[:2*sectorSize])
	fat := b[reservedSectors*sectorSize:][:v.fatSectors()*sectorSize]
	le.PutUint32(fat[0:], 0x0fffff00|mediaFixed)
	le.PutUint32(fat[4:], clusterEnd)
	data := b[(reservedSectors+fatCopies*v.fatSectors())*sectorSize:]
	v.root.write(fat, data)
	copy(b[reservedSectors*sectorSize+len(fat):], fat)
}

// write writes a node's content and its chain of clusters, then those below it.
func (n *node) write(fat, data []byte) {
	content := n.data
	if n.children != nil {
		content = append(slices.Clone(n.entries), make([]byte, entrySize)...)
	}
	if n.cluster != 0 {
		copy(data[(n.cluster-rootCluster)*sectorSize:], content)
		last := n.cluster + clustersFor(len(content)) - 1
		for c := n.cluster; c < last; c++ {
			le.PutUint32(fat[4*c:], uint32(c+1))
		}
		le.PutUint32(fat[4*last:], clusterEnd)
	}
	for _, child := range n.children {
		child.write(fat, data)
	}
}

// writeBootSector writes the boot sector and the sector with what is free.
func (v *volume) writeBootSector(b []byte) {
	copy(b, "\xeb\x58\x90PROBITY ")
	le.PutUint16(b[11:], sectorSize)
	b[13] = 1 // sectors in a cluster
	le.PutUint16(b[14:], reservedSectors)
	b[16] = fatCopies
	b[21] = mediaFixed
	le.PutUint16(b[24:], 63)  // sectors of a track and
	le.PutUint16(b[26:], 255) // heads: of no meaning today
	le.PutUint32(b[28:], firstSector)
	le.PutUint32(b[32:], uint32(v.sectors()))
	le.PutUint32(b[36:], uint32(v.fatSectors()))
	le.PutUint32(b[44:], rootCluster)
	le.PutUint16(b[48:], infoSector)
	le.PutUint16(b[50:], backupSector)
	b[64], b[66] = 0x80, 0x29 // drive; the next three fields are there
	le.PutUint32(b[67:], volumeID)
	copy(b[71:], volumeLabel)
	copy(b[82:], "FAT32   ")
	b[510], b[511] = 0x55, 0xaa

	info := b[infoSector*sectorSize:]
	le.PutUint32(info[0:], 0x41615252)
	le.PutUint32(info[484:], 0x61417272)
	le.PutUint32(info[488:], uint32(v.clusters-(v.next-rootCluster)))
	le.PutUint32(info[492:], uint32(v.next))
	le.PutUint32(info[508:], 0xaa550000)
}
