// Package muster is the dictionary of Muster: its nouns, one file each, with
// their types, states, validation and the interface of the service that keeps
// them. It imports nothing of ours; every other room imports it.
package muster

// Version is the release this tree builds.
const Version = "0.1.0-dev"
