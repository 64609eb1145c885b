package imagetree

import (
	"archive/tar"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Options says what a description holds besides config, history and tree.
type Options struct {
	// Base is a tree whose files are left out where they are unchanged, and noted where they are gone.
	Base Tree
	// MTimes are names below which modification times are told.
	MTimes []string
	// Created tells when image and history say they were made.
	Created bool
	// Media tells the media types.
	Media bool
}

// Describe says everything about an image in lines that are equal for equal images.
func Describe(img v1.Image, opts Options) ([]string, error) {
	lines, err := describeConfig(img, opts)
	if err != nil {
		return nil, err
	}
	history, err := describeHistory(img, opts)
	if err != nil {
		return nil, err
	}
	lines = append(lines, history...)
	if opts.Media {
		media, err := describeMedia(img)
		if err != nil {
			return nil, err
		}
		lines = append(lines, media...)
	}
	t, err := Flatten(img)
	if err != nil {
		return nil, err
	}
	return append(lines, t.Describe(opts)...), nil
}

// describeConfig reads the raw JSON, for a typed config drops the fields that it does not know.
func describeConfig(img v1.Image, opts Options) ([]string, error) {
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	var file map[string]any
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	for _, k := range []string{"rootfs", "history", "moby.buildkit.buildinfo.v1", "moby.buildkit.cache.v0"} {
		delete(file, k)
	}
	if !opts.Created {
		delete(file, "created")
	}
	return flattenJSON("image", file), nil
}

func flattenJSON(prefix string, v any) []string {
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		b, err := json.Marshal(v)
		if s := string(b); err == nil && s != "null" && s != "{}" && s != "[]" && s != `""` && s != "false" {
			return []string{prefix + " " + s}
		}
		return nil
	}
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		sub := m[k]
		if inner, ok := sub.(map[string]any); ok && len(inner) == 0 {
			sub = true // a set, such as the exposed ports
		}
		lines = append(lines, flattenJSON(prefix+"."+k, sub)...)
	}
	return lines
}

func describeHistory(img v1.Image, opts Options) ([]string, error) {
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	lines := []string{fmt.Sprintf("layers %d", len(layers))}
	for _, h := range file.History {
		line := fmt.Sprintf("history %q comment=%q author=%q empty=%v", h.CreatedBy, h.Comment, h.Author, h.EmptyLayer)
		if opts.Created {
			line += fmt.Sprintf(" created=%d", h.Created.Unix())
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func describeMedia(img v1.Image) ([]string, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	lines := []string{"media manifest " + string(m.MediaType), "media config " + string(m.Config.MediaType)}
	for _, l := range m.Layers {
		lines = append(lines, "media layer "+string(l.MediaType))
	}
	return lines, nil
}

// Describe is the tree's part of an image's description.
func (t Tree) Describe(opts Options) []string {
	names := map[*Node][]string{}
	for _, name := range t.Names() {
		names[t[name]] = append(names[t[name]], name)
	}
	base := opts.Base
	if len(base) > 0 && !t.holdsMost(base) {
		base = nil
	}
	var lines []string
	for _, name := range t.Names() {
		if name == "." && t[name].Mode == 0o755 && t[name].UID == 0 && t[name].GID == 0 {
			continue // a layer may leave the root out, and most do
		}
		if base[name] == nil || t.changed(name, base) {
			lines = append(lines, t.line(name, names[t[name]], opts))
		}
	}
	for _, name := range base.Names() {
		if t[name] == nil {
			lines = append(lines, "file - "+name)
		}
	}
	return lines
}

// holdsMost tells an image that was built on the base from one that merely has a file of the same name.
func (t Tree) holdsMost(base Tree) bool {
	var same int
	for name := range base {
		if t[name] != nil {
			same++
		}
	}
	return same*2 > len(base)
}

func (t Tree) changed(name string, base Tree) bool {
	a, b := *t[name], *base[name]
	a.MTime, b.MTime = 0, 0
	return fmt.Sprint(a) != fmt.Sprint(b)
}

func (t Tree) line(name string, links []string, opts Options) string {
	n := t[name]
	var b strings.Builder
	fmt.Fprintf(&b, "file %c %04o %d:%d %q", letter(n.Type), n.Mode, n.UID, n.GID, name)
	switch n.Type {
	case tar.TypeReg:
		fmt.Fprintf(&b, " size=%d sha256=%.16s", n.Size, n.Hash)
	case tar.TypeSymlink:
		fmt.Fprintf(&b, " -> %q", n.Link)
	case tar.TypeChar, tar.TypeBlock:
		b.WriteString(" device=" + n.Device)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Xattrs)) {
		fmt.Fprintf(&b, " %s=%s", k, hex.EncodeToString([]byte(n.Xattrs[k])))
	}
	if len(links) > 1 {
		fmt.Fprintf(&b, " linked=%q", links[0])
	}
	if below(name, opts.MTimes) {
		b.WriteString(" mtime=" + age(n.MTime))
	}
	return b.String()
}

// age tells a time that somebody chose from the time of the build, which no two builds share.
func age(mtime int64) string {
	if time.Since(time.Unix(mtime, 0)) < 24*time.Hour {
		return "now"
	}
	return strconv.FormatInt(mtime, 10)
}

func below(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool {
		d = strings.Trim(d, "/")
		return d == "" || name == d || strings.HasPrefix(name, d+"/")
	})
}

func letter(t byte) byte {
	switch t {
	case tar.TypeDir:
		return 'd'
	case tar.TypeSymlink:
		return 'l'
	case tar.TypeChar:
		return 'c'
	case tar.TypeBlock:
		return 'b'
	case tar.TypeFifo:
		return 'p'
	}
	return 'f'
}

// Diff tells the lines that only one of two descriptions has, in order: "-" those of a, "+" those of b.
func Diff(a, b []string) []string {
	count := map[string]int{}
	for _, l := range a {
		count[l]++
	}
	var diff []string
	for _, l := range b {
		if count[l]--; count[l] < 0 {
			diff = append(diff, "+ "+l)
		}
	}
	count = map[string]int{}
	for _, l := range b {
		count[l]++
	}
	for _, l := range a {
		if count[l]--; count[l] < 0 {
			diff = append(diff, "- "+l)
		}
	}
	return diff
}
