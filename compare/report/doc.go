// Package report prints comparisons for people: one HTML page that needs nothing beside itself.
//
// [Write] streams: a page of a hundred thousand differences needs no more memory than one of ten. Whatever comes
// from a database is written as JSON inside an inert script element and shown by setting text, never by building
// markup, so no value can become part of the page.
package report
