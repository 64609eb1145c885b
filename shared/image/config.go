package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// parts are the fields of a config that are looked at here.
type parts struct {
	OS           string             `json:"os"`
	Architecture string             `json:"architecture"`
	Created      *time.Time         `json:"created"`
	History      []ocispecs.History `json:"history"`
}

// finish completes the frontend's config. Only the three fields that depend on
// layers and times are written anew; all others stay as they are, above all
// Docker's own (Healthcheck, OnBuild, Shell), which an OCI struct would lose.
// Keys come out sorted.
func finish(s Spec) ([]byte, error) {
	var p parts
	if err := json.Unmarshal(s.Config, &p); err != nil {
		return nil, fmt.Errorf("read image config: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(s.Config, &fields); err != nil {
		return nil, fmt.Errorf("read image config: %w", err)
	}
	if p.OS == "" || p.Architecture == "" {
		return nil, errors.New("image config without os or architecture")
	}
	base, err := baseHistory(s.Base)
	if err != nil {
		return nil, err
	}

	p.History = history(s, p.History, base)
	rootfs := v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}
	for _, b := range s.Layers {
		rootfs.DiffIDs = append(rootfs.DiffIDs, b.DiffID)
	}
	for k, v := range map[string]any{"rootfs": rootfs, "history": p.History, "created": s.created(p)} {
		if fields[k], err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("write %s of image config: %w", k, err)
		}
	}
	return json.Marshal(fields)
}

// created is the time of the whole image: that of its last row.
func (s *Spec) created(p parts) time.Time {
	switch n := len(p.History); {
	case p.Created != nil:
		return s.settle(*p.Created)
	case s.Reproducible || n == 0:
		return s.settle(s.now())
	default:
		return *p.History[n-1].Created
	}
}

func baseHistory(config []byte) ([]ocispecs.History, error) {
	if len(config) == 0 {
		return nil, nil
	}
	var p parts
	if err := json.Unmarshal(config, &p); err != nil {
		return nil, fmt.Errorf("read config of base image: %w", err)
	}
	return p.History, nil
}
