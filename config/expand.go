package config

import (
	"strings"
)

// expanded reads a text and fills in ${env:NAME} and ${file:/path}; $${ stands for ${. What it fills in is
// never shown: messages name the reference only.
func (r *reader) expanded(f field) (string, bool) {
	s, ok := r.text(f)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(s.text); {
		switch tail := s.text[i:]; {
		case strings.HasPrefix(tail, "$${"):
			b.WriteString("${")
			i += 3
		case strings.HasPrefix(tail, "${"):
			where := s.from
			where.column += i
			end := strings.IndexByte(tail, '}')
			if end < 0 {
				r.add(where, "close it with }, or write $${ for the text itself", "%q has a ${ without }", f.key)
				return "", false
			}
			value, found := r.resolve(tail[2:end], where)
			ok = ok && found
			b.WriteString(value)
			i += end + 1
		default:
			b.WriteByte(s.text[i])
			i++
		}
	}
	if ok && b.Len() == 0 {
		r.add(s.at, "set what it refers to", "%q is empty once filled in", f.key)
		return "", false
	}
	return b.String(), ok
}

func (r *reader) resolve(reference string, where place) (string, bool) {
	kind, name, _ := strings.Cut(reference, ":")
	switch kind {
	case "env":
		value, found := r.options.Lookup(name)
		if !found {
			r.add(where, "export "+name+", or use ${file:/path}", "environment variable %q is not set", name)
		}
		return value, found
	case "file":
		text, err := r.options.ReadFile(r.beside(name))
		if err != nil {
			r.add(where, "create the file and make it readable for this user", "secret cannot be read: %v", err)
			return "", false
		}
		return strings.TrimRight(string(text), "\r\n"), true
	}
	r.add(where, "write ${env:NAME} or ${file:/path}", "${%s} refers to nothing known", reference)
	return "", false
}
