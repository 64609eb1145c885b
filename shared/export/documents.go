package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// Documents is an Exporter of small files beside the artifact: what is told of it.
type Documents struct {
	// Dir is the directory that they are written into.
	Dir string
	// Files are their contents by name, which may have directories in it.
	Files map[string][]byte
}

// Export writes each file at once or not at all. Every one is tried.
func (d *Documents) Export(ctx context.Context, _ Artifact) error {
	var errs []error
	for name, content := range d.Files {
		errs = append(errs, context.Cause(ctx), d.write(filepath.Join(d.Dir, filepath.FromSlash(name)), content))
	}
	return errors.Join(errs...)
}

func (d *Documents) write(path string, content []byte) error {
	err := makeParents(path, 0o755)
	if err == nil {
		err = replace(path, 0o644, func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
