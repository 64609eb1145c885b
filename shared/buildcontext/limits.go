package buildcontext

import (
	"fmt"
	"io"

	"github.com/strake-build/strake/shared/layer"
)

// Limits bound what an archive from a stranger may cost. In each field zero
// means the default and a negative number means no limit.
type Limits struct {
	// Limits are those of the tar; Bytes is 64 GiB by default.
	layer.Limits
	// Ratio is how many times its compressed size an archive may have, once it
	// has more than a gibibyte; by default 200. Text has 10, seldom 100.
	Ratio int64
}

const (
	defaultBytes = 64 << 30
	defaultRatio = 200
	ratioFrom    = 1 << 30
)

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = defaultBytes
	}
	if l.Ratio == 0 {
		l.Ratio = defaultRatio
	}
	return l
}

const blockSize = 512 // of tar

// meter reads the decompressed archive. It stops a bomb early, and remembers
// how the archive ended.
type meter struct {
	r     io.Reader
	in    *arrived
	limit Limits
	n     int64
	tail  [blockSize]byte
	err   error
}

func (m *meter) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.remember(p[:n])
	if err == nil && m.limit.Ratio > 0 && m.n > ratioFrom && m.n/m.limit.Ratio > m.in.n {
		err = &layer.LimitError{What: fmt.Sprintf("times its compressed size of %d bytes", m.in.n), Max: m.limit.Ratio}
	}
	m.err = err
	return n, err
}

// remember keeps the last block.
func (m *meter) remember(p []byte) {
	if len(p) >= blockSize {
		copy(m.tail[:], p[len(p)-blockSize:])
		return
	}
	copy(m.tail[:], m.tail[len(p):])
	copy(m.tail[blockSize-len(p):], p)
}

// ended tells whether the last block is one of zeros, as an archive ends (POSIX.1-2017,
// pax, "ustar Interchange Format"). Without it nobody could tell
// an archive from the beginning of one.
func (m *meter) ended() error {
	switch {
	case m.n == 0:
		return errEmpty
	case m.tail != [blockSize]byte{}:
		return errCutOff
	}
	return nil
}
