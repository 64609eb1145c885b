package sbom

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ndb reads rpm's "new database" (lib/backend/ndb/rpmpkg.c): pages of slots, each
// of which names a blob by the number of its block of 16 bytes.
func (s *store) ndb(each func([]byte) error) error {
	const page, slot = 4096, 16
	head, err := s.bytes(0, 32)
	if err != nil {
		return err
	}
	pages := int64(binary.LittleEndian.Uint32(head[12:]))
	if string(head[:4]) != "RpmP" || binary.LittleEndian.Uint32(head[4:]) != 0 {
		return errors.New("it is no ndb database of version 0")
	}
	slots, err := s.bytes(32, pages*page-32)
	if err != nil {
		return fmt.Errorf("slots: %w", err)
	}
	for ; len(slots) >= slot; slots = slots[slot:] {
		number := binary.LittleEndian.Uint32(slots[4:])
		if string(slots[:4]) != "Slot" || number == 0 {
			continue
		}
		at := int64(binary.LittleEndian.Uint32(slots[8:])) * 16
		head, err := s.bytes(at, 16)
		if err != nil {
			return fmt.Errorf("package %d: %w", number, err)
		}
		if string(head[:4]) != "BlbS" || binary.LittleEndian.Uint32(head[4:]) != number {
			return fmt.Errorf("package %d: its slot names no blob", number)
		}
		blob, err := s.bytes(at+16, int64(binary.LittleEndian.Uint32(head[12:])))
		if err == nil {
			err = each(blob)
		}
		if err != nil {
			return fmt.Errorf("package %d: %w", number, err)
		}
	}
	return nil
}
