package postgres

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// captureEdition counts the editions of capture.sql; a source that has an older one is brought up to date.
const captureEdition = 1

//go:embed capture.sql
var captureTemplate string

//go:embed capture_remove.sql
var captureRemoveTemplate string

// capture is how a PostgreSQL source is made to report structure changes in its log.
func capture() *waybill.Capture {
	return &waybill.Capture{
		Script: func(ctx context.Context, e waybill.Endpoint) (string, error) {
			return captureText(ctx, e, captureTemplate)
		},
		RemoveScript: func(ctx context.Context, e waybill.Endpoint) (string, error) {
			return captureText(ctx, e, captureRemoveTemplate)
		},
		Install: func(ctx context.Context, e waybill.Endpoint) error {
			return runCapture(ctx, e, "install capture", captureTemplate)
		},
		Remove: func(ctx context.Context, e waybill.Endpoint) error {
			return runCapture(ctx, e, "remove capture", captureRemoveTemplate)
		},
		Installed: func(ctx context.Context, e waybill.Endpoint) (bool, error) {
			conn, err := connect(ctx, e, "schema", nil)
			if err != nil {
				return false, err
			}
			defer closeConn(conn)
			return captureInstalled(ctx, conn)
		},
	}
}

func edition(major int) string { return fmt.Sprintf("%d for %d", captureEdition, major) }

// captureInstalled reports whether the present edition is installed and its triggers fire for everyone.
func captureInstalled(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
	rows, err := query(ctx, conn, `SELECT count(*) = 3 FROM pg_catalog.pg_event_trigger t
		JOIN pg_catalog.pg_proc p ON p.oid = t.evtfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = 'waybill' AND t.evtname IN ('waybill_command', 'waybill_drop', 'waybill_rewrite') AND t.evtenabled = 'A'
		  AND EXISTS (SELECT FROM pg_catalog.pg_proc c WHERE c.pronamespace = n.oid AND c.proname = 'on_command'
		    AND pg_catalog.obj_description(c.oid, 'pg_proc') = `+quoteLiteral("waybill capture "+edition(serverVersion(conn)/10000))+`)`)
	if err != nil {
		return false, classify("look for capture", waybill.TableName{}, err)
	}
	return len(rows) == 1 && isTrue(rows[0][0]), nil
}

func captureText(ctx context.Context, e waybill.Endpoint, text string) (string, error) {
	conn, err := connect(ctx, e, "schema", nil)
	if err != nil {
		return "", err
	}
	defer closeConn(conn)
	return captureScript(ctx, conn, text)
}

// captureScript fills in what the server knows: its version, the database, and the role that asks, which is
// the one that gets the rights.
func captureScript(ctx context.Context, conn *pgconn.PgConn, text string) (string, error) {
	rows, err := query(ctx, conn, "SELECT current_database(), current_user")
	if err != nil {
		return "", classify("write capture script", waybill.TableName{}, err)
	}
	major := serverVersion(conn) / 10000
	oneLine := strings.NewReplacer("\n", " ", "\r", " ")
	return expand(text, struct {
		Major                   int
		Full, Lean              describing
		Database, Role, Edition string
	}{major, describing{Major: major}, describing{Major: major, Lean: true}, oneLine.Replace(quoteName(string(rows[0][0]))), oneLine.Replace(quoteName(string(rows[0][1]))), edition(major)})
}

func runCapture(ctx context.Context, e waybill.Endpoint, op, text string) error {
	conn, err := connect(ctx, e, "schema", nil)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	script, err := captureScript(ctx, conn, text)
	if err != nil {
		return err
	}
	err = exec(ctx, conn, script)
	if sqlState(err) == "42501" {
		return &waybill.Error{Op: op, Fault: waybill.Setup, Err: err,
			Hint: "let a superuser, or the role that your provider lets create event triggers, run the script that schema install --show prints"}
	}
	if err != nil {
		return classify(op, waybill.TableName{}, err)
	}
	return nil
}

// enlistPublication tells the capture what tables a publication takes in, so that a new table is in it before
// its first row. Without capture there is nobody to tell.
func enlistPublication(ctx context.Context, conn *pgconn.PgConn, publication string, tables waybill.Selection) error {
	return whereCaptured(ctx, conn, `INSERT INTO waybill.publication (name, patterns) VALUES (`+quoteLiteral(publication)+`, `+
		quoteLiteral(textArray(tablePatterns(tables)))+`) ON CONFLICT (name) DO UPDATE SET patterns = excluded.patterns
		WHERE publication.patterns <> excluded.patterns`)
}

// delistPublication takes a publication back.
func delistPublication(ctx context.Context, conn *pgconn.PgConn, publication string) error {
	return whereCaptured(ctx, conn, "DELETE FROM waybill.publication WHERE name = "+quoteLiteral(publication))
}

func whereCaptured(ctx context.Context, conn *pgconn.PgConn, statement string) error {
	rows, err := query(ctx, conn, "SELECT to_regclass('waybill.publication') IS NOT NULL")
	if err == nil && isTrue(rows[0][0]) {
		err = exec(ctx, conn, statement)
	}
	if err != nil {
		return classify("list publication", waybill.TableName{}, err)
	}
	return nil
}

// nameSeparator stands between schema and name where patterns are matched; no name holds it.
const nameSeparator = "\x01"

// tablePatterns writes a selection as the server's regular expressions over schema, separator, name. The rule
// stays the selection's: a leading ! takes out, the last match decides.
func tablePatterns(tables waybill.Selection) []string {
	patterns := []string{}
	for _, pattern := range tables {
		rest, out := strings.CutPrefix(pattern, "!")
		if rest == "*" {
			rest = "*.*"
		}
		expression := "^" + globExpression(rest) + "$"
		if out {
			expression = "!" + expression
		}
		patterns = append(patterns, expression)
	}
	return patterns
}

// globExpression translates one schema.table pattern; its first dot outside quotes separates the parts.
func globExpression(pattern string) string {
	var b strings.Builder
	quoted, atStart := false, true
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '"' && (quoted || atStart):
			if quoted && strings.HasPrefix(pattern[i+1:], `"`) {
				b.WriteByte('"')
				i++
			} else {
				quoted = !quoted
			}
		case quoted:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c == '.':
			b.WriteString(nameSeparator)
			atStart = true
			continue
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[':
			end := strings.IndexByte(pattern[i:], ']')
			if end < 0 {
				end = len(pattern) - i - 1
			}
			b.WriteString(pattern[i : i+end+1])
			i += end
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
		atStart = false
	}
	return b.String()
}
