package flags

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is how large a configuration file may be.
const maxFile = 1 << 20

// FileError is a configuration file that cannot be read, or says what cannot be.
type FileError struct{ Err error }

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// fileValue is what a configuration file says of a flag.
type fileValue struct {
	values []string
	origin string
}

// readFile reads a configuration file: a mapping from the names of flags to a
// value, a list, or a mapping. A file that may be missing yields nothing when it is.
func (p *Program) readFile(path string, mayMiss bool) (map[string]fileValue, error) {
	if path == "" {
		return nil, nil
	}
	root, err := readYAML(path)
	switch {
	case mayMiss && errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, &FileError{fmt.Errorf("read configuration: %w", err)}
	}
	values := make(map[string]fileValue)
	var errs []error
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, node := root.Content[i], root.Content[i+1]
		origin := fmt.Sprintf("%s:%d", path, key.Line)
		f := p.byKey(key.Value)
		if f == nil {
			errs = append(errs, fmt.Errorf("%s: %s: there is no such setting", origin, key.Value))
			continue
		}
		if _, twice := values[f.key]; twice {
			errs = append(errs, fmt.Errorf("%s: %s: is there twice", origin, key.Value))
			continue
		}
		vs, err := f.flag.yaml(node)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %s: %w", path, node.Line, key.Value, err))
			continue
		}
		values[f.key] = fileValue{vs, origin}
	}
	if err := errors.Join(errs...); err != nil {
		return values, &FileError{err}
	}
	return values, nil
}

// readYAML reads the one mapping of a file.
func readYAML(path string) (*yaml.Node, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	limited := &io.LimitedReader{R: r, N: maxFile}
	dec := yaml.NewDecoder(limited)
	var doc, more yaml.Node
	err = dec.Decode(&doc)
	switch {
	case limited.N == 0:
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	case errors.Is(err, io.EOF):
		return &yaml.Node{}, nil // nothing but remarks
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", path)
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.MappingNode:
		return root, nil
	case root.Tag == "!!null":
		return &yaml.Node{}, nil
	}
	return nil, fmt.Errorf("%s:%d: want NAME: VALUE lines", path, root.Line)
}

type keyed struct {
	key  string
	flag *Flag
}

// byKey finds the flag of a key, of whatever command: one file serves them all.
func (p *Program) byKey(key string) *keyed {
	for _, c := range append([]Command{{Flags: p.Flags}}, p.Commands...) {
		for i := range c.Flags {
			f := &c.Flags[i]
			if f.Name == "config" {
				continue // a file does not name another
			}
			if f.key(c.Name) == key || !f.Local && contains(f.Aliases, key) {
				return &keyed{f.key(c.Name), f}
			}
		}
	}
	return nil
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

// yaml reads a flag's value.
func (f *Flag) yaml(n *yaml.Node) ([]string, error) {
	var values []string
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		values = []string{n.Value}
	case n.Kind == yaml.SequenceNode && f.many():
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode || e.Tag == "!!null" {
				return nil, fmt.Errorf("want a list of values")
			}
			values = append(values, e.Value)
		}
	case n.Kind == yaml.MappingNode && f.Kind == Pairs:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if v.Kind != yaml.ScalarNode || strings.Contains(k.Value, "=") {
				return nil, fmt.Errorf("want KEY: VALUE lines")
			}
			values = append(values, k.Value+"="+v.Value)
		}
	case f.Kind == Pairs:
		return nil, fmt.Errorf("want KEY: VALUE lines, or a list of KEY=VALUE")
	case f.many():
		return nil, fmt.Errorf("want a value or a list of values")
	default:
		return nil, fmt.Errorf("want one value")
	}
	for _, v := range values {
		if err := f.check(v); err != nil {
			return nil, fmt.Errorf("%s: %w", f.display(v), err)
		}
	}
	return values, nil
}
