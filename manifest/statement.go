package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/attest"
)

// statement is one that nobody signed yet: a predicate that says already what it
// is about.
type statement struct{ attest.Statement }

// statementOf reads a statement; nil where it is a predicate alone.
func statementOf(raw []byte) (*statement, error) {
	var s statement
	var kind struct {
		Type string `json:"_type"`
	}
	if json.Unmarshal(raw, &kind) != nil || !strings.HasPrefix(kind.Type, "https://in-toto.io/Statement/") {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &s.Statement); err != nil {
		return nil, fmt.Errorf("read the statement: %w", err)
	}
	if len(s.Predicate) == 0 {
		return nil, fmt.Errorf("the statement has no predicate")
	}
	return &s, nil
}

// ofType holds a statement to the type that was asked for.
func (s *statement) ofType(kind string) error {
	if s.PredicateType != kind {
		return fmt.Errorf("it is a statement of type %q, and --type says %q", s.PredicateType, kind)
	}
	return nil
}

// about holds a statement to the manifest that it is put beside.
func (s *statement) about(d v1.Hash) error {
	if s == nil || slices.ContainsFunc(s.Subject, func(x attest.Resource) bool { return x.Digest[d.Algorithm] == d.Hex }) {
		return nil
	}
	return fmt.Errorf("it is a statement about another image than %s", d)
}
