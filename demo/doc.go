// Package demo is a shop that never stands still: ten tables, concurrent writers and a changer of structures,
// and the stage on which the main job is shown and tested on throw-away servers.
//
// A [World] is what is known of the shop's tables, read from the catalogue of the database itself, so that
// statements made from it never fail on a structure that has meanwhile changed. [World.Write] and
// [World.Reshape] run until their context ends. A [Stage] holds two servers and the program under test as a
// child process that may be killed at any time. [Run] plays the whole demonstration.
package demo
