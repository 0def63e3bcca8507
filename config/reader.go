package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// reader walks the tree of a file and collects what is wrong with it.
type reader struct {
	file     string
	options  Options
	problems Problems
}

type place struct{ line, column int }

func placeOf(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{1, 1}
	}
	return place{t.Position.Line, t.Position.Column}
}

func at(n ast.Node) place {
	if n == nil {
		return place{1, 1}
	}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return at(m.Values[0])
	}
	if v, ok := n.(*ast.MappingValueNode); ok {
		return at(v.Key)
	}
	return placeOf(n.GetToken())
}

func (r *reader) add(p place, fix, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: p.line, Column: p.column, What: fmt.Sprintf(format, args...), Fix: fix})
}

// parse returns the only document's body, or nil where there is none or it cannot be read.
func (r *reader) parse(text string) ast.Node {
	file, err := parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if e, ok := errors.AsType[*yaml.SyntaxError](err); ok {
			r.add(placeOf(e.Token), "correct the YAML; text that starts with * & ! or @ needs quotes", "%s", e.Message)
		} else {
			r.add(place{1, 1}, "correct the YAML; text that starts with * & ! or @ needs quotes", "%s", firstLine(err))
		}
		return nil
	}
	if len(file.Docs) > 1 {
		for _, extra := range file.Docs[1:] {
			r.add(placeOf(extra.Start), "keep one, without ---", "there is a second document")
		}
	}
	if len(file.Docs) == 0 {
		return nil
	}
	if _, comment := file.Docs[0].Body.(*ast.CommentGroupNode); comment {
		return nil
	}
	return file.Docs[0].Body
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// field is one key of a mapping with its value.
type field struct {
	key   string
	at    place
	value ast.Node
}

// empty reports whether nothing stands after the key.
func (f *field) empty() bool {
	if f.value == nil {
		return true
	}
	_, null := f.value.(*ast.NullNode)
	return null
}

// fields returns the keys of a mapping in order, each once; what names the mapping in messages.
func (r *reader) fields(n ast.Node, what string) []field {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		if !r.refused(n) {
			r.add(at(n), "write `key: value` pairs", "%s is %s, want a mapping", what, describe(n))
		}
		return nil
	}
	var all []field
	seen := map[string]place{}
	for _, pair := range pairs {
		key, ok := r.key(pair)
		if !ok {
			continue
		}
		f := field{key, at(pair.Key), pair.Value}
		if first, twice := seen[key]; twice {
			r.add(f.at, "keep one of the two", "%q is given twice, first in line %d", key, first.line)
			continue
		}
		seen[key] = f.at
		all = append(all, f)
	}
	return all
}

func (r *reader) key(pair *ast.MappingValueNode) (string, bool) {
	switch key := pair.Key.(type) {
	case *ast.StringNode:
		return key.Value, true
	case *ast.MergeKeyNode:
		r.add(at(key), "write the values out", "merge keys are not supported")
		return "", false
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return key.GetToken().Value, true
	}
	r.add(at(pair.Key), "write a plain name", "the key is %s, want text", describe(pair.Key))
	return "", false
}

// refused reports features of YAML that would make a file read otherwise than it looks.
func (r *reader) refused(n ast.Node) bool {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		r.add(at(n), "write the value out, and put text that starts with & or * in quotes", "anchors and aliases are not supported")
	case *ast.TagNode:
		r.add(at(n), "put text that starts with ! in quotes", "tags are not supported")
	default:
		return false
	}
	return true
}

// scalar is a single value as text, with where its text starts.
type scalar struct {
	text string
	at   place
	from place // of the first character of the text, where it is on one line
}

// text reads a value that must be text; numbers are taken as they are written.
func (r *reader) text(f field) (scalar, bool) {
	s := scalar{at: f.at}
	if f.empty() {
		r.add(f.at, "give it a value or remove the key", "%q is empty", f.key)
		return s, false
	}
	s.at = at(f.value)
	s.from = s.at
	switch n := f.value.(type) {
	case *ast.StringNode:
		s.text = n.Value
		if n.Token.Type == token.DoubleQuoteType || n.Token.Type == token.SingleQuoteType {
			s.from.column++
		}
	case *ast.LiteralNode:
		s.text = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		s.text = n.GetToken().Value
	default:
		if !r.refused(n) {
			r.add(s.at, "write one value", "%q is %s, want text", f.key, describe(n))
		}
		return s, false
	}
	if s.text == "" {
		r.add(s.at, "give it a value or remove the key", "%q is empty", f.key)
		return s, false
	}
	return s, true
}

// items reads a list of texts; a single text stands for a list of one.
func (r *reader) items(f field) []scalar {
	list, ok := f.value.(*ast.SequenceNode)
	if !ok {
		if one, ok := r.text(f); ok {
			return []scalar{one}
		}
		return nil
	}
	var all []scalar
	for _, n := range list.Values {
		where := at(n)
		if where == (place{1, 1}) {
			where = f.at
		}
		if s, ok := r.text(field{f.key, where, n}); ok {
			all = append(all, s)
		}
	}
	if len(list.Values) == 0 {
		r.add(at(list), "list at least one, or remove the key", "%q is empty", f.key)
	}
	return all
}

func (r *reader) number(f field, low, high int) int {
	s, ok := r.text(f)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(s.text)
	if err != nil || n < low || n > high {
		r.add(s.at, fmt.Sprintf("write a number from %d to %d", low, high), "%q is %q", f.key, s.text)
	}
	return n
}

func isMapping(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "empty"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	}
	return "text"
}
