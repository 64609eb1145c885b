package layer

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// Compression is how a layer's tar is compressed.
type Compression uint8

// The ways of compressing.
const (
	Gzip Compression = iota
	Zstd
	None
)

// ParseCompression knows "gzip", "zstd" and "none" ("uncompressed").
func ParseCompression(s string) (Compression, error) {
	switch s {
	case "gzip", "":
		return Gzip, nil
	case "zstd":
		return Zstd, nil
	case "none", "uncompressed":
		return None, nil
	}
	return 0, fmt.Errorf("compression %q is none of gzip, zstd, none", s)
}

func (c Compression) String() string {
	switch c {
	case Zstd:
		return "zstd"
	case None:
		return "none"
	}
	return "gzip"
}

// MediaType is the type of a layer so compressed, of OCI's family or Docker's.
// Docker's has none for zstd.
func (c Compression) MediaType(docker bool) (types.MediaType, error) {
	switch {
	case c == Zstd && docker:
		return "", fmt.Errorf("layers compressed by zstd need OCI media types")
	case c == Zstd:
		return types.OCILayerZStd, nil
	case c == None && docker:
		return types.DockerUncompressedLayer, nil
	case c == None:
		return types.OCIUncompressedLayer, nil
	case docker:
		return types.DockerLayer, nil
	}
	return types.OCILayer, nil
}

// checkLevel knows the levels of the command line tools; 0 is the default.
func (c Compression) checkLevel(level int) error {
	highest := map[Compression]int{Gzip: 9, Zstd: 22, None: 0}[c]
	if level < 0 || level > highest {
		return fmt.Errorf("compression level %d: %v has 1 to %d", level, c, highest)
	}
	return nil
}

const (
	gzipLevel = 6
	zstdLevel = 3
	// Memory is about 2.5 MiB for each block in work. The size of blocks is
	// part of the output, their number is not.
	gzipBlock  = 512 << 10
	gzipBlocks = 8
)

// compressor returns a writer that compresses into w. Its output depends on
// its input and level alone, not on the number of processors.
func (c Compression) compressor(w io.Writer, level int) (io.WriteCloser, error) {
	switch c {
	case Gzip:
		if level == 0 {
			level = gzipLevel
		}
		z, err := pgzip.NewWriterLevel(w, level)
		if err != nil {
			return nil, err
		}
		z.ModTime = time.Unix(0, 0) // means none, RFC 1952
		return z, z.SetConcurrency(gzipBlock, min(runtime.GOMAXPROCS(0), gzipBlocks))
	case Zstd:
		if level == 0 {
			level = zstdLevel
		}
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
			zstd.WithEncoderConcurrency(min(runtime.GOMAXPROCS(0), 4)))
	}
	return nopCloser{w}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
