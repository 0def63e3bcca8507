// Package waybill is the vocabulary of Waybill: the words that every engine and every connector share.
//
// A [View] is one consistent sight of a system and is read in [Slice]s. A [ChangeSource] is what happens
// after a View, in commit order. A [Sink] takes both. A [TableVersion] is one immutable structure of a
// table; every row and every [Change] points at the version it was made under. A [Position] is a place in
// a source's own history.
//
// The package imports the standard library only, does no input or output and starts no goroutine. Engines
// (link, compare, ...) import it and nothing of each other; connectors (connect/...) import it and never
// an engine.
package waybill
