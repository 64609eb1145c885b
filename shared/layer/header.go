package layer

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const blockSize = 512

// header is one entry of a tar as we write it: ustar, with a PAX header before
// it for what does not fit there. It is encoded here and not by archive/tar so
// that a layer's digest does not change with the version of Go.
type header struct {
	name  string
	typ   byte
	link  string
	size  int64
	in    *Inode
	mtime time.Time
	extra []paxRecord // PAX records of another system's files
}

// paxRecord is one line of a PAX header.
type paxRecord struct{ key, value string }

// The largest numbers that the octal fields of 8 and 12 bytes hold.
const (
	maxOctal8  = 1<<21 - 1
	maxOctal12 = 1<<33 - 1
)

// appendHeader appends the blocks of an entry's header to b.
func appendHeader(b []byte, h *header) []byte {
	prefix, name, fits := splitUSTAR(h.name)
	if records := paxRecords(h, !fits); len(records) > 0 {
		pax := ustar{name: "PaxHeaders.0/x", typ: 'x', size: int64(len(records)), mode: 0o644}
		b = pax.append(b)
		b = append(b, records...)
		b = pad(b, len(records))
	}
	u := ustar{
		name: name, prefix: prefix, typ: h.typ, link: h.link,
		mode: int64(h.in.Mode), uid: int64(h.in.UID), gid: int64(h.in.GID),
		size: h.size, mtime: h.mtime.Unix(),
	}
	if h.in.Kind == Char || h.in.Kind == Block {
		u.major, u.minor = int64(h.in.DevMajor), int64(h.in.DevMinor)
	}
	return u.append(b)
}

// pad appends zeros after n bytes of data, to the end of a block.
func pad(b []byte, n int) []byte {
	return append(b, zeroBlock[:padding(int64(n))]...)
}

func padding(n int64) int64 { return -n & (blockSize - 1) }

var zeroBlock [blockSize]byte

// splitUSTAR cuts a name in two at a slash, where that makes both parts fit.
func splitUSTAR(name string) (prefix, rest string, ok bool) {
	if !ascii(name) {
		return "", name, false
	}
	if len(name) <= 100 {
		return "", name, true
	}
	end := min(len(name)-1, 156) // the last slash of a directory's name stays
	i := strings.LastIndexByte(name[:end], '/')
	if i <= 0 || len(name)-i-1 > 100 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// paxRecords encodes what the ustar header can't say, sorted by key.
func paxRecords(h *header, path bool) []byte {
	in, mtime := h.in, h.mtime.Unix()
	if !path && ascii(h.link) && len(h.link) <= 100 && h.size <= maxOctal12 && in.UID <= maxOctal8 &&
		in.GID <= maxOctal8 && mtime >= 0 && mtime <= maxOctal12 && len(in.Xattrs) == 0 && len(h.extra) == 0 {
		return nil
	}
	records := slices.Clone(h.extra)
	add := func(need bool, key, value string) {
		if need {
			records = append(records, paxRecord{key, value})
		}
	}
	add(path, "path", h.name)
	add(len(h.link) > 100 || !ascii(h.link), "linkpath", h.link)
	add(h.size > maxOctal12, "size", strconv.FormatInt(h.size, 10))
	add(in.UID > maxOctal8, "uid", strconv.FormatUint(uint64(in.UID), 10))
	add(in.GID > maxOctal8, "gid", strconv.FormatUint(uint64(in.GID), 10))
	add(mtime < 0 || mtime > maxOctal12, "mtime", strconv.FormatInt(mtime, 10))
	for name, value := range in.Xattrs {
		if strings.Contains(name, "=") {
			// The key of a PAX record ends at the first "="; GNU tar's way out.
			name = gnuEscape.Replace(name)
		}
		add(true, "SCHILY.xattr."+name, value)
	}
	slices.SortFunc(records, func(a, b paxRecord) int { return strings.Compare(a.key, b.key) })
	var b []byte
	for _, r := range records {
		b = appendRecord(b, r.key, r.value)
	}
	return b
}

var (
	gnuEscape   = strings.NewReplacer("%", "%25", "=", "%3D")
	gnuUnescape = strings.NewReplacer("%25", "%", "%3D", "=")
)

// appendRecord appends "length key=value\n", where the length counts itself.
func appendRecord(b []byte, key, value string) []byte {
	rest := len(key) + len(value) + 3
	n := rest + len(strconv.Itoa(rest))
	if m := rest + len(strconv.Itoa(n)); m != n {
		n = m
	}
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, ' ')
	b = append(b, key...)
	b = append(b, '=')
	b = append(b, value...)
	return append(b, '\n')
}

// ustar is a header block (POSIX.1-2017, pax, "ustar Interchange Format").
// Numbers that don't fit are written as 0, since a PAX record has them.
type ustar struct {
	name, prefix, link          string
	typ                         byte
	mode, uid, gid, size, mtime int64
	major, minor                int64
}

func (u *ustar) append(b []byte) []byte {
	start := len(b)
	b = append(b, zeroBlock[:]...)
	f := b[start:]
	copyASCII(f[0:100], u.name)
	octal(f[100:108], u.mode)
	octal(f[108:116], u.uid)
	octal(f[116:124], u.gid)
	octal(f[124:136], u.size)
	octal(f[136:148], u.mtime)
	f[156] = u.typ
	copyASCII(f[157:257], u.link)
	copy(f[257:265], "ustar\x0000")
	octal(f[329:337], u.major)
	octal(f[337:345], u.minor)
	copyASCII(f[345:500], u.prefix)

	copy(f[148:156], "        ")
	var sum int64
	for _, c := range f {
		sum += int64(c)
	}
	octal(f[148:155], sum)
	f[155] = ' '
	return b
}

func copyASCII(dst []byte, s string) {
	for i := range min(len(dst), len(s)) {
		if s[i] < 0x80 {
			dst[i] = s[i]
		} else {
			dst[i] = '_'
		}
	}
}

// octal fills a field with zero-padded digits and a final NUL.
func octal(dst []byte, n int64) {
	digits := len(dst) - 1
	if n < 0 || n >= 1<<(3*digits) {
		n = 0
	}
	for i := digits - 1; i >= 0; i-- {
		dst[i] = byte('0' + n&7)
		n >>= 3
	}
	dst[digits] = 0
}
