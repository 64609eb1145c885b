// Package framed hashes lists of values in which none can be taken for another.
//
// Every value goes in behind its length, and every hash begins with what it is
// of. "ab","c" and "a","bc" differ, and so do equal values of two domains.
package framed

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// Hash is a hash in the making. It is for one goroutine.
type Hash struct {
	h   hash.Hash
	buf [binary.MaxVarintLen64]byte
}

// New begins a hash; domain says what it is of, and in which version.
func New(domain string) *Hash {
	h := &Hash{h: sha256.New()}
	return h.String(domain)
}

// String adds a value.
func (h *Hash) String(s string) *Hash {
	h.h.Write(binary.AppendUvarint(h.buf[:0], uint64(len(s))))
	h.h.Write([]byte(s))
	return h
}

// Strings adds a list, and how long it is.
func (h *Hash) Strings(s ...string) *Hash {
	h.Int(int64(len(s)))
	for _, v := range s {
		h.String(v)
	}
	return h
}

// Int adds a number.
func (h *Hash) Int(n int64) *Hash { return h.String(string(binary.AppendVarint(h.buf[:0], n))) }

// Sum is the hash of all values so far: 64 hexadecimal digits of SHA-256.
func (h *Hash) Sum() string { return hex.EncodeToString(h.h.Sum(nil)) }
