package cosign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// Given are bundles that come from elsewhere than the registry.
type Given []found

// ReadBundles reads a file with a bundle, or with several, one after another. Name is for messages.
func ReadBundles(name string, content []byte) (all Given, err error) {
	d := json.NewDecoder(bytes.NewReader(content))
	for n := 1; ; n++ {
		var one json.RawMessage
		switch err := d.Decode(&one); {
		case errors.Is(err, io.EOF) && n > 1:
			return all, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("it is empty")
		case err != nil:
			return nil, fmt.Errorf("bundle %d: %w", n, err)
		}
		f := found{where: fmt.Sprintf("%s, bundle %d", name, n), bundle: new(bundle.Bundle)}
		if err := f.bundle.UnmarshalJSON(one); err != nil {
			return nil, fmt.Errorf("bundle %d: %w", n, err)
		}
		all = append(all, f)
	}
}
