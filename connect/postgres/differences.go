package postgres

import (
	"fmt"
	"slices"

	"github.com/waybill-data/waybill"
)

// differences lists what keeps a table at the target from taking the rows of a table at the source. Keys,
// indexes and defaults that are missing come with completeStatements; that identity columns are BY DEFAULT
// at the target is no difference.
func differences(existing, wanted *waybill.TableVersion) []string {
	var found []string
	for i := range wanted.Columns {
		w := &wanted.Columns[i]
		j := existing.Column(w.Name)
		if j < 0 {
			found = append(found, fmt.Sprintf("column %s is missing", quoteName(w.Name)))
			continue
		}
		found = append(found, columnDifferences(&existing.Columns[j], w)...)
	}
	for i := range existing.Columns {
		if e := &existing.Columns[i]; wanted.Column(e.Name) < 0 {
			found = append(found, fmt.Sprintf("column %s is not at the source", quoteName(e.Name)))
		}
	}
	if primary := primaryKey(existing); primary != nil && len(wanted.Key) > 0 && primaryKey(wanted) != nil &&
		!slices.Equal(primary.Columns, primaryKey(wanted).Columns) {
		found = append(found, fmt.Sprintf("the key is %s, at the source %s", primary.Definition, primaryKey(wanted).Definition))
	}
	if by, want := partitionedBy(existing), partitionedBy(wanted); by != want {
		found = append(found, fmt.Sprintf("it is partitioned %q, at the source %q", by, want))
	}
	for _, part := range flatten(wanted.Partitions) {
		same := func(e waybill.Partition) bool { return e.Table == part.Table && e.Bound == part.Bound }
		if !slices.ContainsFunc(flatten(existing.Partitions), same) {
			found = append(found, fmt.Sprintf("partition %s %s is missing", part.Table, part.Bound))
		}
	}
	return found
}

func columnDifferences(e, w *waybill.Column) []string {
	var found []string
	name := quoteName(w.Name)
	if e.Type.Native != w.Type.Native {
		found = append(found, fmt.Sprintf("column %s is %s, at the source %s", name, e.Type.Native, w.Type.Native))
	}
	if e.NotNull && !w.NotNull {
		found = append(found, fmt.Sprintf("column %s is NOT NULL, at the source it may be NULL", name))
	}
	if e.Writable() != w.Writable() {
		found = append(found, fmt.Sprintf("column %s is %s, at the source %s", name, generation(e), generation(w)))
	}
	return found
}

func generation(c *waybill.Column) string {
	if c.Writable() {
		return "written"
	}
	return "computed"
}

func primaryKey(v *waybill.TableVersion) *waybill.Constraint {
	for i := range v.Constraints {
		if v.Constraints[i].Kind == waybill.PrimaryKey {
			return &v.Constraints[i]
		}
	}
	return nil
}

func partitionedBy(v *waybill.TableVersion) string {
	if v.Partitions == nil {
		return ""
	}
	return v.Partitions.By
}
