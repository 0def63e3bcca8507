// Package pgoutput decodes the messages of PostgreSQL's logical replication output plugin "pgoutput", protocol
// versions 1 to 4.
//
// A [Decoder] fills a [Message] that its caller reuses; nothing is allocated per message or per value, and
// tuples alias the bytes they were decoded from. Every length is checked: foreign bytes give an error, never
// a panic. After the section "Logical Replication Message Formats" of the PostgreSQL manual.
package pgoutput
