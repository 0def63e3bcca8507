package postgres

import (
	"strings"

	"github.com/waybill-data/waybill"
)

// dropRules drops the constraints and indexes that are gone, and renames those that only have a new name.
func (r *reshape) dropRules() {
	for _, kinds := range [][]waybill.ConstraintKind{{waybill.ForeignKey}, {waybill.Check, waybill.Exclusion, waybill.Unique, waybill.PrimaryKey}} {
		for _, old := range r.a.Constraints {
			if old.Kind != kinds[0] && (kinds[0] == waybill.ForeignKey || old.Kind == waybill.ForeignKey) {
				continue
			}
			if _, kept := constraintNamed(r.b, old.Name); kept {
				continue
			}
			if now, renamed := r.renamedConstraint(old); renamed {
				r.alter("RENAME CONSTRAINT " + quoteName(old.Name) + " TO " + quoteName(now.Name))
				continue
			}
			r.add(dropConstraint(r.b.Table, old.Name))
		}
	}
	for _, old := range r.a.Indexes {
		if _, kept := indexNamed(r.b, old.Name); kept {
			continue
		}
		name := indexName(r.b.Table, old.Name)
		if now, renamed := r.renamedIndex(old); renamed {
			r.add("ALTER INDEX " + name + " RENAME TO " + quoteName(now.Name))
			continue
		}
		r.add("DROP INDEX IF EXISTS " + name)
	}
}

func (r *reshape) renamedConstraint(old waybill.Constraint) (waybill.Constraint, bool) {
	for _, now := range r.b.Constraints {
		if _, known := constraintNamed(r.a, now.Name); !known && now.Kind == old.Kind && now.Definition == old.Definition {
			return now, true
		}
	}
	return waybill.Constraint{}, false
}

func (r *reshape) renamedIndex(old waybill.Index) (waybill.Index, bool) {
	for _, now := range r.b.Indexes {
		if _, known := indexNamed(r.a, now.Name); !known && now.Unique == old.Unique && indexTail(now) == indexTail(old) {
			return now, true
		}
	}
	return waybill.Index{}, false
}

// indexTail is an index's definition without its name and its table's.
func indexTail(x waybill.Index) string {
	_, tail, _ := strings.Cut(x.Definition, " USING ")
	return tail
}

// dropConstraint drops a constraint, with the foreign keys that lean on it: the source could not have dropped
// it otherwise.
func dropConstraint(t waybill.TableName, name string) string {
	return block("f record;", `FOR f IN SELECT k.conrelid::regclass AS relation, k.conname FROM pg_catalog.pg_constraint own
  JOIN pg_catalog.pg_constraint k ON k.contype = 'f' AND k.confrelid = own.conrelid AND k.conindid = own.conindid AND k.coninhcount = 0
  WHERE own.conrelid = `+regclass(t)+` AND own.conname = `+quoteLiteral(name)+` AND own.contype IN ('p', 'u') LOOP
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', f.relation, f.conname);
END LOOP;
ALTER TABLE `+quoteTable(t)+` DROP CONSTRAINT IF EXISTS `+quoteName(name)+`;`)
}

// addRules adds the constraints and indexes that are new, and makes those that read differently again. Where
// the rows come again, those that are there may break the new rules: the old ones go, and Complete adds the new.
// Foreign keys are added apart, when both their ends allow it.
func (r *reshape) addRules() {
	for _, isForeign := range []bool{false, true} {
		for _, now := range r.b.Constraints {
			if (now.Kind == waybill.ForeignKey) != isForeign {
				continue
			}
			old, known := constraintNamed(r.a, now.Name)
			if known && old.Definition == now.Definition || !known && isForeign {
				continue
			}
			r.add(ensureConstraint(r.b.Table, now, r.shape.Reload || isForeign))
		}
	}
	for _, now := range r.b.Indexes {
		old, known := indexNamed(r.a, now.Name)
		if known && old.Definition == now.Definition {
			continue
		}
		r.add(ensureIndex(r.b.Table, now, r.shape.Reload))
	}
}

// ensureConstraint makes a constraint read as it should. Often it already does: a renamed column or table
// renames itself in what refers to it.
func ensureConstraint(t waybill.TableName, c waybill.Constraint, later bool) string {
	steps := "IF was IS NOT NULL THEN\nALTER TABLE " + quoteTable(t) + " DROP CONSTRAINT " + quoteName(c.Name) + ";\nEND IF;\n"
	if !later {
		steps += addConstraintNow(t, c) + ";\n"
	}
	condition := "was IS DISTINCT FROM " + quoteLiteral(c.Definition)
	if c.References != nil {
		condition += " AND to_regclass(" + quoteLiteral(quoteTable(*c.References)) + ") IS NOT NULL"
	}
	return block("was text;", "SELECT pg_get_constraintdef(k.oid) INTO was FROM pg_catalog.pg_constraint k WHERE k.conrelid = "+regclass(t)+
		" AND k.conname = "+quoteLiteral(c.Name)+";\nIF "+condition+" THEN\n"+steps+"END IF;")
}

// ensureIndex does the same for an index.
func ensureIndex(t waybill.TableName, x waybill.Index, later bool) string {
	name := indexName(t, x.Name)
	steps := "DROP INDEX IF EXISTS " + name + ";\n"
	if !later {
		steps += x.Definition + ";\n"
		if x.Comment != "" {
			steps += "COMMENT ON INDEX " + name + " IS " + quoteLiteral(x.Comment) + ";\n"
		}
	}
	return block("was text;", "SELECT replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') INTO was FROM pg_catalog.pg_index i WHERE i.indrelid = "+regclass(t)+
		" AND i.indexrelid = to_regclass("+quoteLiteral(name)+");\nIF was IS DISTINCT FROM "+quoteLiteral(x.Definition)+" THEN\n"+steps+"END IF;")
}
