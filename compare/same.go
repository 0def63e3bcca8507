package compare

import "github.com/waybill-data/waybill"

// Same reports whether two values of a column are equal under the rule.
func (r Rule) Same(a, b waybill.Value) bool { return a.Same(b) || r.apply(a).Same(r.apply(b)) }

// RuleOf returns the rule that was chosen for a column of a table, by its name at the source.
func (o *Options) RuleOf(table waybill.TableName, column string) Rule {
	var chosen Rule
	for _, r := range o.Rules {
		if r.Name.is(table, column) {
			chosen = r.Rule
		}
	}
	return chosen
}

// Compares reports whether a column that is no key is among those chosen to be compared.
func (o *Options) Compares(table waybill.TableName, column string) bool {
	named := func(list []ColumnName) bool {
		for _, n := range list {
			if n.is(table, column) {
				return true
			}
		}
		return false
	}
	return (len(o.Columns) == 0 || named(o.Columns)) && !named(o.Without)
}
