package postgres

import (
	"strings"

	"github.com/waybill-data/waybill"
)

// kinds maps the server's own types, as format_type names them, to how their values are held. What is not
// here (arrays, ranges, composites, inet, bit, money, xml, types of extensions ...) travels as text in the
// server's own syntax. Enums are text too; their names are the user's, so describe tells them.
var kinds = map[string]waybill.Kind{
	"boolean":                     waybill.KindBool,
	"smallint":                    waybill.KindInt,
	"integer":                     waybill.KindInt,
	"bigint":                      waybill.KindInt,
	"oid":                         waybill.KindInt,
	"real":                        waybill.KindFloat32,
	"double precision":            waybill.KindFloat64,
	"numeric":                     waybill.KindDecimal,
	"text":                        waybill.KindText,
	"character varying":           waybill.KindText,
	"character":                   waybill.KindText,
	"bpchar":                      waybill.KindText,
	"name":                        waybill.KindText,
	"citext":                      waybill.KindText,
	"bytea":                       waybill.KindBytes,
	"date":                        waybill.KindDate,
	"time without time zone":      waybill.KindTime,
	"time with time zone":         waybill.KindTimeTZ,
	"timestamp without time zone": waybill.KindTimestamp,
	"timestamp with time zone":    waybill.KindInstant,
	"interval":                    waybill.KindInterval,
	"json":                        waybill.KindJSON,
	"jsonb":                       waybill.KindJSON,
	"uuid":                        waybill.KindUUID,
}

// kindOf returns how values of a type are held. The name is format_type's, domains resolved; a type modifier
// may be part of it. Array types and unknown ones are literals.
func kindOf(typeName string) waybill.Kind {
	name := stripModifier(typeName)
	if strings.HasSuffix(name, ".citext") {
		name = "citext"
	}
	if kind, ok := kinds[strings.TrimPrefix(name, "pg_catalog.")]; ok {
		return kind
	}
	return waybill.KindLiteral
}

// stripModifier removes (…) from a type's name: "timestamp(3) with time zone", "interval day to second(2)".
func stripModifier(name string) string {
	if strings.HasPrefix(name, "interval") && !strings.HasSuffix(name, "]") {
		return "interval"
	}
	open := strings.IndexByte(name, '(')
	if open < 0 || strings.HasPrefix(name, `"`) {
		return name
	}
	end := strings.IndexByte(name[open:], ')')
	if end < 0 {
		return name
	}
	return name[:open] + name[open+end+1:]
}
