package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/connect/connecttest"
	"github.com/waybill-data/waybill/connect/postgres"
	"github.com/waybill-data/waybill/internal/dbtest"
)

func TestConformance(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			dbtest.Shared(t, major)
			endpoint := func(t *testing.T) waybill.Endpoint {
				return waybill.Endpoint{Name: t.Name(), Kind: "postgres", URL: waybill.NewSecret(dbtest.Database(t, major))}
			}
			// The older one reads whatever it is behind in one way, the newer in the other.
			source := func(t *testing.T) waybill.Endpoint {
				e := endpoint(t)
				if major == 18 {
					e.Settings = map[string]string{"backlog_mb": "0"}
				}
				return e
			}
			connecttest.Run(t, connecttest.Suite{
				Connector: postgres.Connector(), Source: source, Target: endpoint,
				Int: waybill.Type{Native: "bigint"}, Text: waybill.Type{Native: "text"}, Samples: samples(),
				Write: func(t *testing.T, e waybill.Endpoint, statements ...connecttest.Statement) {
					t.Helper()
					var script strings.Builder
					for _, s := range statements {
						script.WriteString(s.SQL() + ";\n")
					}
					dbtest.Exec(t, e.URL.Reveal(), "BEGIN;\n"+script.String()+"COMMIT")
				},
			})
		})
	}
}

// samples are the types that need care, with their extremes.
func samples() []connecttest.Sample {
	sample := func(kind waybill.Kind, native string, literals ...string) connecttest.Sample {
		s := connecttest.Sample{Type: waybill.Type{Kind: kind, Native: native}}
		for _, sql := range literals {
			s.Literals = append(s.Literals, connecttest.Literal{SQL: sql})
		}
		return s
	}
	prepared := func(s connecttest.Sample, sql ...string) connecttest.Sample {
		s.Before = sql
		return s
	}
	return []connecttest.Sample{
		sample(waybill.KindBool, "boolean", "true", "false"),
		sample(waybill.KindInt, "smallint", "-32768", "32767"),
		sample(waybill.KindInt, "bigint", "-9223372036854775808", "9223372036854775807"),
		sample(waybill.KindFloat32, "real", "'NaN'", "'-Infinity'", "'1e-45'", "'-0'"),
		sample(waybill.KindFloat64, "double precision", "'NaN'", "'Infinity'", "'5e-324'", "'-0'", "0.1"),
		sample(waybill.KindDecimal, "numeric", "'NaN'", "'Infinity'", "'-Infinity'", "1e-100", "-12.340", "repeat('9', 200)::numeric"),
		sample(waybill.KindDecimal, "numeric(10,2)", "12345678.90", "0"),
		sample(waybill.KindText, "text", "''", "E'\\t\\n\\\\N\\b'", "'\\N'", "'😀'", "repeat('x', 100000)"),
		sample(waybill.KindText, "character varying(5)", "'abcde'", "'  '"),
		sample(waybill.KindAbsent, "character(5)", "'a'", "''"),
		sample(waybill.KindBytes, "bytea", "''", "'\\x00ff5c0a'"),
		sample(waybill.KindDate, "date", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'2000-02-29'"),
		sample(waybill.KindTime, "time without time zone", "'24:00'", "'00:00:00.000001'"),
		sample(waybill.KindTimeTZ, "time with time zone", "'23:59:59.999999-15:59'", "'00:00+05:30'"),
		sample(waybill.KindTimestamp, "timestamp without time zone", "'infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"),
		sample(waybill.KindInstant, "timestamp with time zone", "'-infinity'", "'4713-01-02 00:00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'"),
		sample(waybill.KindInterval, "interval", "'1 year -2 mons 3 days -04:05:06.789'", "'0'", "'-178000000 years'"),
		sample(waybill.KindUUID, "uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"),
		sample(waybill.KindJSON, "json", `'{"b":1,  "a": [1.0, null], "b": 2}'`, "'null'"),
		sample(waybill.KindJSON, "jsonb", `'{"b":1,"a":[1.00,null]}'`, `'"x"'`),
		sample(waybill.KindAbsent, "xml", "'<a b=\"c\">d</a>'"),
		sample(waybill.KindAbsent, "inet", "'10.0.0.1/8'", "'::ffff:1.2.3.4'"),
		sample(waybill.KindAbsent, "cidr", "'10.0.0.0/8'"),
		sample(waybill.KindAbsent, "macaddr", "'08:00:2b:01:02:03'"),
		sample(waybill.KindAbsent, "money", "'-92233720368547758.08'"),
		sample(waybill.KindAbsent, "bit(3)", "B'101'"),
		sample(waybill.KindAbsent, "bit varying", "B''", "B'1'"),
		sample(waybill.KindAbsent, "tsvector", "'a:1A fat:2B,4C'"),
		sample(waybill.KindAbsent, "text[]", `'{NULL,"NULL","a,b","\"",""}'`, "'{}'", "'[0:1]={a,b}'"),
		sample(waybill.KindAbsent, "numeric[]", "'{{1.0,2},{NaN,NULL}}'"),
		sample(waybill.KindAbsent, "int4range", "'[1,5)'", "'empty'", "'(,)'"),
		sample(waybill.KindAbsent, "point", "'(1e-300,-0)'"),
		prepared(sample(waybill.KindAbsent, "public.mood", "'sad'", "'it''s'"), "CREATE TYPE public.mood AS ENUM ('sad', 'it''s')"),
		prepared(sample(waybill.KindAbsent, "public.pair", `'(1,"a,b")'`, "'(,)'"), "CREATE TYPE public.pair AS (n integer, t text)"),
		prepared(sample(waybill.KindInt, "public.positive", "1", "2147483647"), "CREATE DOMAIN public.positive AS integer CHECK (VALUE > 0)"),
	}
}
