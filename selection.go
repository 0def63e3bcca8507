package waybill

import (
	"fmt"
	"path"
	"strings"
)

// Selection chooses tables by patterns of schema.table with * and ? and [a-z]; a pattern that starts with !
// takes out. The last pattern that matches a table decides. An empty Selection chooses every table.
type Selection []string

// Has reports whether the table is chosen.
func (s Selection) Has(t TableName) bool {
	if len(s) == 0 {
		return true
	}
	chosen := strings.HasPrefix(s[0], "!") // a list that only takes out starts from all
	for _, pattern := range s {
		out := strings.HasPrefix(pattern, "!")
		if matches(strings.TrimPrefix(pattern, "!"), t) {
			chosen = !out
		}
	}
	return chosen
}

// Check reports the first malformed pattern.
func (s Selection) Check() error {
	for _, pattern := range s {
		schema, name, err := splitPattern(strings.TrimPrefix(pattern, "!"))
		if err != nil {
			return fmt.Errorf("pattern %q: %w", pattern, err)
		}
		for _, part := range []string{schema, name} {
			if _, err := path.Match(part, ""); err != nil {
				return fmt.Errorf("pattern %q: %w", pattern, err)
			}
		}
	}
	return nil
}

// Pick returns the chosen tables, in the order given.
func (s Selection) Pick(tables []TableName) []TableName {
	var chosen []TableName
	for _, t := range tables {
		if s.Has(t) {
			chosen = append(chosen, t)
		}
	}
	return chosen
}

func matches(pattern string, t TableName) bool {
	schema, name, err := splitPattern(pattern)
	if err != nil {
		return false
	}
	inSchema, err := path.Match(schema, t.Schema)
	if err != nil || !inSchema {
		return false
	}
	inName, err := path.Match(name, t.Name)
	return err == nil && inName
}

// splitPattern cuts a pattern at its dot. Quoted parts are exact names, so their stars are escaped.
func splitPattern(pattern string) (schema, name string, err error) {
	if pattern == "*" {
		return "*", "*", nil
	}
	schema, tail, err := parsePart(pattern)
	if err != nil {
		return "", "", err
	}
	if tail == "" {
		return "", "", fmt.Errorf("want schema.table")
	}
	name, rest, err := parsePart(tail[1:])
	if err != nil {
		return "", "", err
	}
	if rest != "" {
		return "", "", fmt.Errorf("want schema.table")
	}
	if strings.HasPrefix(pattern, `"`) {
		schema = escapePattern(schema)
	}
	if strings.HasPrefix(tail, `."`) {
		name = escapePattern(name)
	}
	return schema, name, nil
}

func escapePattern(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
