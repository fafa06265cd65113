package rootfs

import (
	"bytes"
	"context"
	"fmt"
	"testing"
)

// BenchmarkTar reads 2,000 programs of 16 KiB.
func BenchmarkTar(b *testing.B) {
	body := string(bytes.Repeat([]byte("0123456789abcdef"), 1024))
	var items []item
	for i := range 2000 {
		items = append(items, item{name: fmt.Sprintf("usr/lib/package-%d/program-%d", i/50, i), body: body, mode: 0o755})
	}
	archive := tarOf(b, items...)
	b.SetBytes(int64(len(archive)))
	for b.Loop() {
		tree := New(Config{})
		if err := tree.AddArchive(context.Background(), "bench", bytes.NewReader(archive), int64(len(archive))); err != nil {
			b.Fatal(err)
		}
		if files, _, err := tree.Files(); err != nil || len(files) != len(items) {
			b.Fatalf("Files() = %d files, %v", len(files), err)
		}
	}
}
