package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"strings"
)

// maxSecret is how large a secret may be, as BuildKit has it.
const maxSecret = 500 << 10

// secrets answers steps' questions for secrets. A file or variable is read when
// a step asks for it, and not before.
type secrets map[string]secretSource

type secretSource struct{ file, env string }

// parseSecrets reads --secret flags: id=NAME[,src=FILE][,env=VARIABLE][,type=file|env].
func parseSecrets(flags []string) (secrets, error) {
	all := make(secrets)
	for _, f := range flags {
		id, s, err := parseSecret(f)
		if err != nil {
			return nil, fmt.Errorf("--secret %s: %w", f, err)
		}
		all[id] = s
	}
	return all, nil
}

func parseSecret(flag string) (id string, s secretSource, err error) {
	fields, err := csv.NewReader(strings.NewReader(flag)).Read()
	if err != nil {
		return "", s, err
	}
	kind := ""
	for _, f := range fields {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return "", s, fmt.Errorf("field %q is not KEY=VALUE", f)
		}
		switch strings.ToLower(k) {
		case "id":
			id = v
		case "src", "source":
			s.file = v
		case "env":
			s.env = v
		case "type":
			kind = v
		default:
			return "", s, fmt.Errorf("key %q is not known", k)
		}
	}
	return id, s.complete(id, kind), s.check(id, kind)
}

func (s secretSource) check(id, kind string) error {
	switch {
	case id == "":
		return fmt.Errorf("the id is missing")
	case kind != "" && kind != "file" && kind != "env":
		return fmt.Errorf("type %q is not file or env", kind)
	}
	return nil
}

// complete finds what the flag leaves open: type=env reads src as a variable's
// name; without any source a variable called id counts before a file.
func (s secretSource) complete(id, kind string) secretSource {
	if kind == "env" && s.env == "" {
		s.env, s.file = s.file, ""
	}
	if s.file != "" || s.env != "" {
		return s
	}
	if _, ok := os.LookupEnv(id); ok && kind != "file" {
		return secretSource{env: id}
	}
	return secretSource{file: id}
}

// Secret implements run.Secrets.
func (s secrets) Secret(id string) ([]byte, bool, error) {
	src, ok := s[id]
	if !ok {
		return nil, false, nil
	}
	if src.env != "" {
		v, ok := os.LookupEnv(src.env)
		if !ok {
			return nil, false, fmt.Errorf("the variable %s is not set", src.env)
		}
		return []byte(v), true, nil
	}
	fi, err := os.Stat(src.file)
	if err != nil {
		return nil, false, err
	}
	if fi.Size() > maxSecret {
		return nil, false, fmt.Errorf("%s has %d bytes, more than the limit of %d", src.file, fi.Size(), maxSecret)
	}
	data, err := os.ReadFile(src.file)
	return data, err == nil, err
}
