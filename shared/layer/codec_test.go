package layer_test

import (
	"bytes"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/layer"
)

// where is a content that remembers its path.
type where struct {
	layer.Bytes
	path string
}

func encoded() (*layer.Table, []byte) {
	t := layer.NewTable()
	t.Root.Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: time.Unix(1, 2)}
	put := func(p string, in *layer.Inode) { t.Make(p).Inode = in }
	shared := &layer.Inode{Kind: layer.Regular, Mode: 0o4755, UID: 1<<32 - 2, GID: 7, Size: 3, ModTime: time.Unix(-5, 999999999), Content: layer.Bytes("abc")}
	put("usr/bin/a", shared)
	put("usr/bin/b", shared)
	put("usr/empty", &layer.Inode{Kind: layer.Regular, Mode: 0o600})
	put("usr/link", &layer.Inode{Kind: layer.Symlink, Mode: 0o777, Target: "../a\xff b", ModTime: time.Unix(1<<40, 0)})
	put("dev/null", &layer.Inode{Kind: layer.Char, Mode: 0o666, DevMajor: 1, DevMinor: 3})
	put("pipe", &layer.Inode{Kind: layer.Fifo, Mode: 0o600, Xattrs: map[string]string{"user.a": "1", "security.capability": "\x00\x01"}})
	t.Make("gone").Whiteout = true
	o := t.Make("etc")
	o.Opaque = true
	o.Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o700}
	return t.Seal(), layer.AppendTable(nil, t)
}

// flat lists a table, and which names share an inode.
func flat(t *layer.Table) (out []any) {
	seen := make(map[*layer.Inode]int)
	_ = t.Walk(func(p string, n *layer.Node) error {
		var in layer.Inode
		at := -1
		if n.Inode != nil {
			in = *n.Inode
			in.Content = nil
			if _, ok := seen[n.Inode]; !ok {
				seen[n.Inode] = len(seen)
			}
			at = seen[n.Inode]
		}
		out = append(out, []any{p, n.Whiteout, n.Opaque, n.Inode == nil, in, at})
		return nil
	})
	return out
}

func TestTableCodec(t *testing.T) {
	want, raw := encoded()
	got, err := layer.ParseTable(raw, func(p string, in *layer.Inode) layer.Content {
		if in.Size == 0 {
			t.Errorf("%s has no bytes", p)
		}
		return &where{path: p}
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := flat(want), flat(got); !reflect.DeepEqual(a, b) {
		t.Errorf("got  %v\nwant %v", b, a)
	}
	if c, ok := got.Lookup("usr/bin/b").Inode.Content.(*where); !ok || c.path != "usr/bin/a" {
		t.Errorf("content of a hard link: %v", c)
	}
	if again := layer.AppendTable(nil, got); !bytes.Equal(again, raw) {
		t.Error("written again, it is another")
	}
}

func TestTableCodecDamage(t *testing.T) {
	_, raw := encoded()
	none := func(string, *layer.Inode) layer.Content { return nil }
	for n := range raw {
		if _, err := layer.ParseTable(raw[:n], none); !errors.Is(err, layer.ErrTable) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
		b := bytes.Clone(raw)
		b[n] ^= 0x80
		_, _ = layer.ParseTable(b, none) // whatever it says, without a panic
	}
	if _, err := layer.ParseTable(append(bytes.Clone(raw), 0), none); !errors.Is(err, layer.ErrTable) {
		t.Errorf("a byte more: %v", err)
	}
}

func FuzzParseTable(f *testing.F) {
	_, raw := encoded()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := layer.ParseTable(b, func(string, *layer.Inode) layer.Content { return layer.Bytes("") })
		if err == nil {
			layer.AppendTable(nil, table)
		}
	})
}

// TestTableCodecLate makes the nodes of a directory when somebody looks into it, and
// of hard links before.
func TestTableCodecLate(t *testing.T) {
	_, raw := encoded()
	var mu sync.Mutex
	var asked []string
	got, err := layer.ParseTable(raw, func(p string, _ *layer.Inode) layer.Content {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, p)
		return &where{path: p}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) != 1 || asked[0] != "usr/bin/a" { // which has two names
		t.Errorf("at once asked for %v", asked)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if n := got.Lookup("usr/bin/b"); n == nil || n.Inode != got.Lookup("usr/bin/a").Inode {
				t.Error("a hard link is none")
			}
		})
	}
	all.Wait()
	if len(asked) != 1 {
		t.Errorf("asked for %v", asked)
	}
}
