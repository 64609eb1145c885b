package sbom

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of pages and entries of Berkeley DB's hash databases (dbinc/db_page.h).
const (
	bdbHashOld, bdbOverflow, bdbMeta, bdbHash = 2, 7, 8, 13

	bdbOffPage  = 3
	bdbHeader   = 26
	bdbMagic    = 0x061561
	bdbLongest  = 1 << 20 // pages of one value
	bdbSmallest = 512
	bdbLargest  = 64 << 10
)

// bdb is a hash database of Berkeley DB, in the byte order of whoever wrote it.
type bdb struct {
	*store
	order binary.ByteOrder
	page  int64
	pages uint32
}

// berkeley reads the values that have pages of their own: all of rpm's headers do.
func (s *store) berkeley(each func([]byte) error) error {
	db, err := s.openBerkeley()
	if err != nil {
		return err
	}
	for n := uint32(0); n <= db.pages; n++ {
		p, err := db.bytes(int64(n)*db.page, db.page)
		if err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
		if p[25] != bdbHash && p[25] != bdbHashOld {
			continue
		}
		if err := db.values(p, each); err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
	}
	return nil
}

func (s *store) openBerkeley() (*bdb, error) {
	head, err := s.bytes(0, 72)
	if err != nil {
		return nil, err
	}
	db := &bdb{store: s, order: binary.LittleEndian}
	if db.order.Uint32(head[12:]) != bdbMagic {
		db.order = binary.BigEndian
	}
	if db.order.Uint32(head[12:]) != bdbMagic || head[25] != bdbMeta {
		return nil, errors.New("it is no hash database of Berkeley DB")
	}
	db.page, db.pages = int64(db.order.Uint32(head[20:])), db.order.Uint32(head[32:])
	if db.page < bdbSmallest || db.page > bdbLargest || head[24] != 0 {
		return nil, fmt.Errorf("pages of %d bytes, encryption %d", db.page, head[24])
	}
	return db, nil
}

// values gives the values on a page: its entries are keys and values in turn.
func (db *bdb) values(p []byte, each func([]byte) error) error {
	entries := int(db.order.Uint16(p[20:]))
	if bdbHeader+2*entries > len(p) {
		return fmt.Errorf("%d entries", entries)
	}
	for i := 1; i < entries; i += 2 {
		at := int(db.order.Uint16(p[bdbHeader+2*i:]))
		if at >= len(p) || p[at] == bdbOffPage && at+12 > len(p) {
			return fmt.Errorf("entry %d at %d", i, at)
		}
		if p[at] != bdbOffPage {
			continue
		}
		v, err := db.value(db.order.Uint32(p[at+4:]), int64(db.order.Uint32(p[at+8:])))
		if err == nil {
			err = each(v)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return nil
}

// value follows the pages of a value.
func (db *bdb) value(page uint32, length int64) ([]byte, error) {
	if length > largestHeader || length > db.size {
		return nil, fmt.Errorf("a value of %d bytes", length)
	}
	out := make([]byte, 0, length)
	for range bdbLongest {
		p, err := db.bytes(int64(page)*db.page, db.page)
		if err != nil {
			return nil, err
		}
		if p[25] != bdbOverflow {
			return nil, fmt.Errorf("page %d is of the kind %d", page, p[25])
		}
		out = append(out, p[bdbHeader:]...)
		if int64(len(out)) >= length {
			return out[:length], nil
		}
		if page = db.order.Uint32(p[16:]); page == 0 {
			break
		}
	}
	return nil, fmt.Errorf("a value of %d bytes ends after %d", length, len(out))
}
