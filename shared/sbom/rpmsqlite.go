package sbom

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// sqlite reads the blobs of rpm's table Packages out of an SQLite database: its
// file format (sqlite.org/fileformat2.html), as far as a walk over one table needs
// it. What is still in a write-ahead log is not seen.
func (s *store) sqlite(each func([]byte) error) error {
	head, err := s.bytes(0, 100)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(head), "SQLite format 3\x00") {
		return errors.New("it is no SQLite database")
	}
	t := &table{store: s, page: int64(binary.BigEndian.Uint16(head[16:]))}
	if t.page == 1 {
		t.page = 64 << 10
	}
	t.usable = t.page - int64(head[20])
	if t.page < 512 || t.page&(t.page-1) != 0 || t.usable < 480 {
		return fmt.Errorf("pages of %d bytes", t.page)
	}
	root := int64(0)
	err = t.rows(1, steepest, func(row []value) error { // sqlite_schema: type, name, tbl_name, rootpage, sql
		if len(row) >= 4 && string(row[0].text) == "table" && string(row[1].text) == "Packages" {
			root = row[3].number
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if root == 0 {
		return errors.New("it has no table Packages")
	}
	t.seen = nil
	return t.rows(root, steepest, func(row []value) error { // hnum, blob
		if len(row) < 2 {
			return errors.New("a row without a header")
		}
		return each(row[1].text)
	})
}

// table is a b-tree of rows.
type table struct {
	*store
	page, usable int64
	seen         map[int64]bool // pages, so that none leads back
}

// value is a column of a row: a text or blob, or a whole number.
type value struct {
	text   []byte
	number int64
}

// The kinds of pages of a table's tree.
const (
	sqliteInterior = 5
	sqliteLeaf     = 13
)

// read gives a page that was not read before.
func (t *table) read(n int64) ([]byte, error) {
	if n < 1 || n > math.MaxUint32 || t.seen[n] {
		return nil, fmt.Errorf("page %d: there is no such page here", n)
	}
	if t.seen == nil {
		t.seen = make(map[int64]bool)
	}
	t.seen[n] = true
	p, err := t.bytes((n-1)*t.page, t.page)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", n, err)
	}
	return p, nil
}

// steepest is how many pages lie over each other, as in SQLite itself.
const steepest = 20

// rows gives all rows below a page.
func (t *table) rows(n int64, depth int, each func([]value) error) error {
	p, err := t.read(n)
	if err != nil {
		return err
	}
	if depth == 0 {
		return fmt.Errorf("page %d: more than %d pages over each other", n, steepest)
	}
	h := p
	if n == 1 {
		h = p[100:]
	}
	kind, cells, first := h[0], int(binary.BigEndian.Uint16(h[3:])), 8
	if kind == sqliteInterior {
		first = 12
	}
	if kind != sqliteInterior && kind != sqliteLeaf || first+2*cells > len(h) {
		return fmt.Errorf("page %d: of the kind %d, with %d cells", n, kind, cells)
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(h[first+2*i:]))
		if at+4 > len(p) {
			return fmt.Errorf("page %d: cell %d at %d", n, i, at)
		}
		if kind == sqliteInterior {
			err = t.rows(int64(binary.BigEndian.Uint32(p[at:])), depth-1, each)
		} else {
			err = t.cell(p[at:], each)
		}
		if err != nil {
			return err
		}
	}
	if kind == sqliteInterior {
		return t.rows(int64(binary.BigEndian.Uint32(h[8:])), depth-1, each)
	}
	return nil
}

// cell reads a row: the length of its content, its number, the content, of which
// the rest may lie on pages of its own.
func (t *table) cell(c []byte, each func([]value) error) error {
	length, c := varint(c)
	_, c = varint(c)
	if length < 0 || length > largestHeader || length > t.size {
		return fmt.Errorf("a row of %d bytes", length)
	}
	here := length
	if most := t.usable - 35; length > most {
		least := (t.usable-12)*32/255 - 23
		if here = least + (length-least)%(t.usable-4); here > most {
			here = least
		}
	}
	if here > int64(len(c)) {
		return fmt.Errorf("a row of %d bytes, of which %d are on a page that has %d left", length, here, len(c))
	}
	content := append(make([]byte, 0, length), c[:here]...)
	if here < length {
		if len(c) < int(here)+4 {
			return errors.New("a row without its rest")
		}
		var err error
		if content, err = t.overflow(content, length, int64(binary.BigEndian.Uint32(c[here:]))); err != nil {
			return err
		}
	}
	row, err := columns(content)
	if err != nil {
		return err
	}
	return each(row)
}

// overflow adds what lies on pages of its own.
func (t *table) overflow(content []byte, length, n int64) ([]byte, error) {
	for int64(len(content)) < length {
		p, err := t.read(n)
		if err != nil {
			return nil, err
		}
		n = int64(binary.BigEndian.Uint32(p))
		content = append(content, p[4:4+min(t.usable-4, length-int64(len(content)))]...)
	}
	return content, nil
}

// columns takes a row apart: the length of its head, the types, the values.
func columns(row []byte) (out []value, err error) {
	length, types := varint(row)
	if length < 1 || length > int64(len(row)) {
		return nil, fmt.Errorf("a row whose head has %d bytes of %d", length, len(row))
	}
	body := row[length:]
	types = types[:max(0, int(length)-(len(row)-len(types)))]
	for len(types) > 0 {
		var kind int64
		kind, types = varint(types)
		n := width(kind)
		if n < 0 || n > int64(len(body)) {
			return nil, fmt.Errorf("a column of %d bytes, where %d are left", n, len(body))
		}
		v := value{text: body[:n]}
		if kind <= 9 {
			v = value{number: whole(kind, body[:n])}
		}
		out, body = append(out, v), body[n:]
	}
	return out, nil
}

// width is how many bytes a column of a type has.
func width(kind int64) int64 {
	switch {
	case kind < 0 || kind == 10 || kind == 11:
		return -1
	case kind >= 12:
		return (kind - 12) / 2
	}
	return [...]int64{0, 1, 2, 3, 4, 6, 8, 8, 0, 0}[kind]
}

func whole(kind int64, b []byte) (n int64) {
	if kind == 8 || kind == 9 {
		return kind - 8
	}
	for _, c := range b {
		n = n<<8 | int64(c)
	}
	return n
}

// varint reads a number of at most nine bytes; what is cut off is -1.
func varint(b []byte) (n int64, rest []byte) {
	for i, c := range b {
		if i == 8 {
			return n<<8 | int64(c), b[9:]
		}
		n = n<<7 | int64(c&0x7f)
		if c < 0x80 {
			return n, b[i+1:]
		}
	}
	return -1, nil
}
