package cache

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/layer"
)

// format is the version of payloads; others are not read.
const format = 1

// payload is an entry as it is written, and signed.
type payload struct {
	Format   int            `json:"format"`
	Key      Key            `json:"key"`
	Step     string         `json:"step"`
	Platform string         `json:"platform"`
	Builder  string         `json:"builder"`
	Created  time.Time      `json:"created"`
	Seconds  float64        `json:"seconds"`
	Base     []v1.Hash      `json:"base"`
	Layers   []payloadLayer `json:"layers"`
	Own      int            `json:"own"`
}

type payloadLayer struct {
	MediaType types.MediaType `json:"mediaType"`
	Digest    v1.Hash         `json:"digest"`
	Size      int64           `json:"size"`
	DiffID    v1.Hash         `json:"diffID"`
	Content   string          `json:"content"`
}

func encode(e *Entry) ([]byte, error) {
	p := payload{
		Format: format, Key: e.Key, Step: e.Step, Platform: e.Platform, Builder: e.Builder, Created: e.Created.UTC(),
		Seconds: e.Took.Seconds(), Base: e.Base, Own: e.Own,
	}
	for _, l := range e.Layers {
		p.Layers = append(p.Layers, payloadLayer{l.MediaType, l.Digest, l.Size, l.DiffID, l.Content})
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write cache entry: %w", err)
	}
	return raw, nil
}

// decode reads a payload that was asked for under k, and believes nothing of it
// that can be checked. The layers cannot be opened yet.
func decode(raw []byte, k Key) (*Entry, error) {
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch {
	case p.Format != format:
		return nil, fmt.Errorf("%w: its format is %d, not %d", ErrDamaged, p.Format, format)
	case p.Key != k:
		return nil, fmt.Errorf("%w: it is the result of another step, %.80q", ErrDamaged, p.Key)
	case p.Own < 0 || p.Own > len(p.Layers):
		return nil, fmt.Errorf("%w: %d of its %d layers are its own", ErrDamaged, p.Own, len(p.Layers))
	}
	e := &Entry{
		Key: k, Step: p.Step, Platform: p.Platform, Builder: p.Builder, Created: p.Created, Base: p.Base, Own: p.Own,
		Took: time.Duration(p.Seconds * float64(time.Second)),
	}
	for _, l := range p.Layers {
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		e.Layers = append(e.Layers, Layer{
			Blob:    layer.Blob{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, DiffID: l.DiffID},
			Content: l.Content,
		})
	}
	return e, nil
}

func (l payloadLayer) check() error {
	switch {
	case l.Digest.Algorithm != "sha256" || l.DiffID.Algorithm != "sha256":
		return fmt.Errorf("layer %s has the diff ID %s", l.Digest, l.DiffID)
	case l.Size <= 0:
		return fmt.Errorf("layer %s has %d bytes", l.Digest, l.Size)
	case !l.MediaType.IsLayer() || !l.MediaType.IsDistributable():
		return fmt.Errorf("layer %s is a %s", l.Digest, l.MediaType)
	case l.Content == "":
		return fmt.Errorf("layer %s does not say what is in it", l.Digest)
	}
	return nil
}

// KeyOf reads the key in a tag; ok is false for tags of something else.
func KeyOf(tag string) (k Key, ok bool) {
	rest, ok := strings.CutPrefix(tag, tagPrefix)
	return Key(rest), ok && isKey(rest)
}

var keyPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func isKey(s string) bool { return keyPattern.MatchString(s) }
