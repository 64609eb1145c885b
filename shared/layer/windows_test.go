package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"testing"
)

func TestWindowsLayer(t *testing.T) {
	table := NewTable()
	table.Make("dir").Inode = &Inode{Kind: Dir, Mode: 0o755}
	table.Make("dir/f").Inode = &Inode{Kind: Regular, Mode: 0o644, Size: 2, Content: Bytes("hi")}
	table.Make("gone").Whiteout = true
	var b bytes.Buffer
	if err := Write(t.Context(), &b, table.Seal(), WriteOptions{Windows: true}); err != nil {
		t.Fatal(err)
	}
	var names []string
	r := tar.NewReader(bytes.NewReader(b.Bytes()))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name == "Files/dir/f" && (h.PAXRecords["MSWINDOWS.fileattr"] != "32" || h.PAXRecords["MSWINDOWS.rawsd"] != windowsFileSD) {
			t.Errorf("%s: records %v", h.Name, h.PAXRecords)
		}
	}
	want := []string{"Files/", "Files/dir/", "Files/dir/f", "Files/.wh.gone", "Hives/"}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("entries %q, want %q", names, want)
	}
	back, _, err := ReadTable(t.Context(), &b, UnpackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if inside := OfWindows(back); inside.Lookup("dir/f") == nil || inside.Lookup("Hives") != nil || !inside.Lookup("gone").Whiteout {
		t.Error("the table read back is not the file system as seen from inside")
	}
}
