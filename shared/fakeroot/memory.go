package fakeroot

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const pageSize = 4096 // the smallest there is; a string may end at the end of a page

// read fills b from the process' memory and returns how much of it could be read.
func (c *call) read(addr uint64, b []byte) int {
	if len(b) == 0 {
		return 0
	}
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	n, err := unix.ProcessVMReadv(int(c.n.pid), []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err != nil {
		return 0
	}
	return n
}

// write copies b into the process' memory.
func (c *call) write(addr uint64, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if !c.alive() {
		return false
	}
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	n, err := unix.ProcessVMWritev(int(c.n.pid), []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	return err == nil && n == len(b)
}

// str reads a C string of less than limit bytes.
func (c *call) str(addr uint64, limit int) (string, bool) {
	buf := c.s.buf[:limit]
	for have := 0; have < limit; {
		// Never across a page that may not be there; most strings are short.
		want := min(int(pageSize-(addr+uint64(have))%pageSize), limit-have)
		if have == 0 {
			want = min(want, 256)
		}
		n := c.read(addr+uint64(have), buf[have:have+want])
		if n <= 0 {
			return "", false
		}
		if i := bytes.IndexByte(buf[have:have+n], 0); i >= 0 {
			return string(buf[:have+i]), true
		}
		have += n
	}
	return "", false
}

// path reads a path; an address of 0 is the empty one, as fstatat(2) takes it with AT_EMPTY_PATH.
func (c *call) path(addr uint64) (string, bool) {
	if addr == 0 {
		return "", true
	}
	return c.str(addr, unix.PathMax)
}

// writeIDs writes an array of ids as the ABI has them.
func (c *call) writeIDs(addr uint64, ids ...uint32) bool {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		if c.ids16 {
			b = binary.NativeEndian.AppendUint16(b, narrow(id))
		} else {
			b = binary.NativeEndian.AppendUint32(b, id)
		}
	}
	return c.write(addr, b)
}

// readIDs reads an array of ids.
func (c *call) readIDs(addr uint64, count int) ([]uint32, bool) {
	size := 4
	if c.ids16 {
		size = 2
	}
	b := make([]byte, size*count)
	if c.read(addr, b) != len(b) {
		return nil, false
	}
	ids := make([]uint32, count)
	for i := range ids {
		if c.ids16 {
			ids[i] = widen(uint32(binary.NativeEndian.Uint16(b[2*i:])))
		} else {
			ids[i] = binary.NativeEndian.Uint32(b[4*i:])
		}
	}
	return ids, true
}

// narrow is an id as a call with 16-bit ids shows it (high2lowuid).
func narrow(id uint32) uint16 {
	if id > 0xffff {
		return 65534
	}
	return uint16(id)
}

// widen is an id that was given in 16 bits (low2highuid).
func widen(id uint32) uint32 {
	if id &= 0xffff; id != 0xffff {
		return id
	}
	return none
}
