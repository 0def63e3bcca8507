// Package layer wraps connectors in what engines must stand: [Faults] makes any call of a contract fail,
// before or after it has done its work, as a broken connection or a killed process does.
package layer
