package demo

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// field is one value of a statement: text to be quoted, SQL to be used as it is, or NULL.
type field struct {
	text string
	sql  bool
	null bool
}

func (f field) expression() string {
	switch {
	case f.null:
		return "NULL"
	case f.sql:
		return f.text
	}
	return quote(f.text)
}

// csv writes the field for COPY ... CSV, where an unquoted empty field is NULL.
func (f field) csv() string {
	if f.null {
		return ""
	}
	return `"` + strings.ReplaceAll(f.text, `"`, `""`) + `"`
}

// quote writes a literal that is right whatever standard_conforming_strings says.
func quote(s string) string {
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return "E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}

func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// pieces are what texts are put together from: what breaks others' quoting, folding and counting is in here.
var pieces = [...]string{"crate", "Äpfel", "naïve", "日本", "🧾", "O'Brien", `back\slash`, "tab\there", "line\nbreak", "\"quoted\"",
	"", "NULL", `\N`, "semi;colon", "{brace}", "comma,", "trailing ", "Ω", "\u00a0", "%"}

func phrase(r *rand.Rand, words int) string {
	parts := make([]string, words)
	for i := range parts {
		parts[i] = pieces[r.IntN(len(pieces))]
	}
	return strings.Join(parts, " ")
}

// word is unique for all practical purposes.
func word(r *rand.Rand) string { return strconv.FormatUint(r.Uint64()>>4, 36) }

func largeText(r *rand.Rand) string {
	raw := make([]byte, 1500+r.IntN(6000))
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	return phrase(r, 3) + hex.EncodeToString(raw)
}

func clock(r *rand.Rand, zone string) string {
	if r.IntN(60) == 0 {
		return [...]string{"infinity", "-infinity", "0044-03-15 12:00:00 BC"}[r.IntN(3)]
	}
	return fmt.Sprintf("2026-%02d-%02d %02d:%02d:%02d.%06d%s", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60),
		r.IntN(1000000), zone)
}

func decimal(r *rand.Rand, precision, scale int) string {
	if precision == 0 {
		switch r.IntN(40) {
		case 0:
			return "NaN"
		case 1:
			return strconv.Itoa(r.IntN(1e9)) + strings.Repeat("0", 30) + "." + strconv.Itoa(r.IntN(1e9)) + "00"
		}
		precision, scale = 9, 4
	}
	whole := precision - scale
	if whole > 6 {
		whole = 6
	}
	limit := 1
	for range whole {
		limit *= 10
	}
	text := strconv.Itoa(r.IntN(2*limit-1) - limit + 1)
	if scale == 0 {
		return text
	}
	fraction := strconv.FormatUint(r.Uint64()>>1|1<<62, 10)
	return text + "." + fraction[:min(scale, 18)]
}

func jsonText(r *rand.Rand) string {
	return fmt.Sprintf(`{"n": %s, "b": [%d, null, true], "a": {"é": "%s"}}`, decimal(r, 9, 3), r.IntN(100), word(r))
}

func arrayOf(r *rand.Rand, element func() string) string {
	parts := make([]string, r.IntN(4))
	for i := range parts {
		if r.IntN(6) == 0 {
			parts[i] = "NULL"
			continue
		}
		parts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(element()) + `"`
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// literal makes a value for a column type as format_type prints it. The second result is false for a type
// that it does not know.
func literal(r *rand.Rand, typ string, labels []string, wide bool) (string, bool) {
	if len(labels) > 0 {
		return labels[r.IntN(len(labels))], true
	}
	if element, isArray := strings.CutSuffix(typ, "[]"); isArray {
		_, known := literal(r, element, nil, false)
		return arrayOf(r, func() string { text, _ := literal(r, element, nil, false); return text }), known
	}
	name, modifier := typ, ""
	if before, after, found := strings.Cut(typ, "("); found {
		name, modifier, _ = strings.Cut(after, ")")
		name, modifier = before+modifier, name
	}
	if text, known := numberLiteral(r, name, modifier, wide); known {
		return text, true
	}
	return otherLiteral(r, name, modifier, wide)
}

func numberLiteral(r *rand.Rand, name, modifier string, wide bool) (string, bool) {
	switch name {
	case "smallint":
		return strconv.Itoa(r.IntN(60000) - 30000), true
	case "integer":
		if wide {
			return strconv.Itoa(1_000_000 + r.IntN(1<<30)), true
		}
		return strconv.Itoa(r.IntN(2000) - 1000), true
	case "bigint":
		if wide {
			return strconv.FormatInt(1_000_000+r.Int64N(1<<50), 10), true
		}
		return strconv.FormatInt(r.Int64N(2_000_000)-1_000_000, 10), true
	case "real":
		return strconv.FormatFloat(float64(float32(r.NormFloat64()*1000)), 'g', -1, 32), true
	case "double precision":
		return strconv.FormatFloat(r.NormFloat64()*1e12, 'g', -1, 64), true
	case "numeric":
		var precision, scale int
		if modifier != "" {
			fmt.Sscanf(modifier, "%d,%d", &precision, &scale)
		}
		return decimal(r, precision, scale), true
	}
	return "", false
}

func otherLiteral(r *rand.Rand, name, modifier string, wide bool) (string, bool) {
	switch name {
	case "boolean":
		return strconv.FormatBool(r.IntN(2) == 0), true
	case "text", "character varying":
		if limit, err := strconv.Atoi(modifier); err == nil {
			text := word(r)
			return text[:min(len(text), limit)], true
		}
		if wide {
			return word(r), true
		}
		return phrase(r, 1+r.IntN(4)), true
	case "date":
		return fmt.Sprintf("2026-%02d-%02d", 1+r.IntN(12), 1+r.IntN(28)), true
	case "timestamp without time zone":
		return clock(r, ""), true
	case "timestamp with time zone":
		return clock(r, "+03:30"), true
	case "interval":
		return fmt.Sprintf("%d months %d days %d.%03d seconds", r.IntN(30)-10, r.IntN(60)-20, r.IntN(90000)-40000, r.IntN(1000)), true
	case "uuid":
		return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()>>16), true
	case "bytea":
		return `\x` + hex.EncodeToString([]byte(phrase(r, r.IntN(9)))), true
	case "json", "jsonb":
		return jsonText(r), true
	case "inet":
		return [...]string{fmt.Sprintf("10.%d.0.0/16", r.IntN(256)), fmt.Sprintf("192.0.2.%d", r.IntN(256)), "2001:db8::1"}[r.IntN(3)], true
	case "numrange":
		low := r.IntN(100)
		return [...]string{fmt.Sprintf("[%d,%d.5)", low, low+3), "empty", "(,1]"}[r.IntN(3)], true
	case "tsvector":
		return fmt.Sprintf("'%s':1A '%s':2", word(r), word(r)), true
	}
	return "", false
}
