// Package memory is a complete connector in memory: the reference of the contract, and the fake that every
// engine is tested on.
//
// A [Store] is one system: tables, sequences, a history of committed transactions, the marks of streams that
// read it and the records of streams that write it. People's writes go through [Tx]. Everything that a commit
// replaces is immutable, so a view is a copy of pointers. A Store starts no goroutine and loses everything
// with the process.
package memory
