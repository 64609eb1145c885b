package layer

import (
	"fmt"
	"strings"
	"time"
)

// windowsFiles is where a Windows layer keeps the file system, beside its
// registry's "Hives".
const windowsFiles = "Files"

// windowsForm puts a table below "Files".
func windowsForm(t *Table) *Table {
	out := NewTable()
	// Without a mode, as BuildKit has them: Windows goes by the descriptors.
	dir := &Inode{Kind: Dir, ModTime: time.Unix(0, 0)}
	out.Make("Hives").Inode = dir
	files := out.Make(windowsFiles)
	files.Inode = dir
	for _, c := range t.Root.Children() {
		files.Set(c)
	}
	return out.Seal()
}

// OfWindows is the file system in the table of a Windows layer.
func OfWindows(t *Table) *Table {
	files := t.Lookup(windowsFiles)
	if files == nil {
		return NewTable()
	}
	root := *files
	root.Name = ""
	return &Table{Root: &root}
}

// Security descriptors, self-relative and in base64, as an image's files have
// them: administrators and the system own all, users read and run.
const (
	// O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;FA;;;BA)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)
	windowsDirSD = "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgCoAAcAAAAAAxgA/wEfAAECAAAAAAAFIAAAACACAAAAAxQA/wEfAAEBAAAAAAAFEgAAAAAAGAD/AR8AAQIAAAAAAAUgAAAAIAIAAAALFAAAAAAQAQEAAAAAAAMAAAAAAAMYAKkAEgABAgAAAAAABSAAAAAhAgAAAAIYAAQAAAABAgAAAAAABSAAAAAhAgAAAAIYAAIAAAABAgAAAAAABSAAAAAhAgAA"
	// O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)
	windowsFileSD = "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgBMAAMAAAAAABgA/wEfAAECAAAAAAAFIAAAACACAAAAABQA/wEfAAEBAAAAAAAFEgAAAAAAGACpABIAAQIAAAAAAAUgAAAAIQIAAA=="
)

// windowsHeader adds what Windows wants to know of a file
// (FILE_ATTRIBUTE_DIRECTORY is 16, FILE_ATTRIBUTE_ARCHIVE 32).
func windowsHeader(h header) header {
	attr, sd := "", ""
	switch h.typ {
	case '5':
		attr, sd = "16", windowsDirSD
	case '0':
		attr, sd = "32", windowsFileSD
	default:
		return h
	}
	h.extra = []paxRecord{{"MSWINDOWS.fileattr", attr}, {"LIBARCHIVE.creationtime", fmt.Sprintf("%d.0", h.mtime.Unix())}}
	if strings.HasPrefix(h.name, windowsFiles+"/") && h.name != windowsFiles+"/" {
		h.extra = append(h.extra, paxRecord{"MSWINDOWS.rawsd", sd})
	}
	return h
}
