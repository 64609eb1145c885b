package cosign

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Condition is something that a statement must say: a path into its JSON, an
// operator, a value. See ParseCondition.
type Condition struct {
	text  string
	path  []step
	op    string
	value any
	regex *regexp.Regexp
}

// step is a key, an index, or all elements of a list.
type step struct {
	key   string
	index int
	kind  byte // 'k', 'i' or '*'
}

// ParseCondition reads "PATH OP VALUE" or "PATH". A path is like
// "$.predicate.builder.id", "$.subject[0].digest.sha256",
// "$.predicate['a.b'].c" or "$.predicate.materials[*].uri"; the "$" may be left
// out. The operators are ==, != and =~ (a regular expression that matches the
// whole string); a value is JSON, or a string without quotes. With [*], one of
// the elements must meet it (with !=, all must). A path alone must be there.
func ParseCondition(s string) (Condition, error) {
	c := Condition{text: s}
	path, op, value := cutOperator(s)
	c.op = op
	var err error
	if c.path, err = parsePath(strings.TrimSpace(path)); err != nil {
		return c, fmt.Errorf("condition %q: %w", s, err)
	}
	value = strings.TrimSpace(value)
	switch op {
	case "":
	case "=~":
		if c.regex, err = regexp.Compile("^(?:" + unquoted(value) + ")$"); err != nil {
			return c, fmt.Errorf("condition %q: %w", s, err)
		}
	default:
		if json.Unmarshal([]byte(value), &c.value) != nil {
			c.value = value
		}
	}
	return c, nil
}

func unquoted(s string) string {
	var u string
	if json.Unmarshal([]byte(s), &u) == nil {
		return u
	}
	return s
}

// cutOperator finds the first operator outside of brackets.
func cutOperator(s string) (path, op, value string) {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i] {
		case '[':
			depth++
		case ']':
			depth--
		}
		if two := s[i : i+2]; depth == 0 && (two == "==" || two == "!=" || two == "=~") {
			return s[:i], two, s[i+2:]
		}
	}
	return s, "", ""
}

func parsePath(s string) ([]step, error) {
	s = strings.TrimPrefix(s, "$")
	if s != "" && s[0] != '.' && s[0] != '[' {
		s = "." + s
	}
	var path []step
	for s != "" {
		if s[0] == '.' {
			end := strings.IndexAny(s[1:], ".[") + 1
			if end == 0 {
				end = len(s)
			}
			if end == 1 {
				return nil, fmt.Errorf("the path has an empty part")
			}
			path, s = append(path, step{key: s[1:end], kind: 'k'}), s[end:]
			continue
		}
		inner, rest, ok := strings.Cut(s[1:], "]")
		if s[0] != '[' || !ok {
			return nil, fmt.Errorf("the path ends in the middle of brackets")
		}
		s = rest
		path = append(path, bracketed(inner))
	}
	if len(path) == 0 {
		return nil, fmt.Errorf("the path is empty")
	}
	return path, nil
}

func bracketed(s string) step {
	if s == "*" {
		return step{kind: '*'}
	}
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return step{index: n, kind: 'i'}
	}
	return step{key: strings.Trim(s, `'"`), kind: 'k'}
}

// Met tells whether a statement meets the condition; the error says what it says instead.
func (c Condition) Met(statement []byte) error {
	var doc any
	if err := json.Unmarshal(statement, &doc); err != nil {
		return fmt.Errorf("condition %q: %w", c.text, err)
	}
	values := walk(doc, c.path)
	if len(values) == 0 {
		return fmt.Errorf("condition %q: the statement has no such path", c.text)
	}
	for _, v := range values {
		ok := c.holds(v)
		if ok && c.op != "!=" {
			return nil
		}
		if !ok && c.op == "!=" {
			return fmt.Errorf("condition %q: the statement has it", c.text)
		}
	}
	if c.op == "!=" {
		return nil
	}
	said, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return fmt.Errorf("condition %q: the statement says %.200s", c.text, said)
}

func (c Condition) holds(v any) bool {
	switch c.op {
	case "==":
		return reflect.DeepEqual(v, c.value)
	case "!=":
		return !reflect.DeepEqual(v, c.value)
	case "=~":
		s, ok := v.(string)
		return ok && c.regex.MatchString(s)
	}
	return true
}

func walk(v any, path []step) []any {
	if len(path) == 0 {
		return []any{v}
	}
	p, rest := path[0], path[1:]
	switch v := v.(type) {
	case map[string]any:
		if x, ok := v[p.key]; ok && p.kind == 'k' {
			return walk(x, rest)
		}
	case []any:
		if p.kind == 'i' && p.index < len(v) {
			return walk(v[p.index], rest)
		}
		var all []any
		for _, x := range v {
			if p.kind == '*' {
				all = append(all, walk(x, rest)...)
			}
		}
		return all
	}
	return nil
}
