package muster

import (
	"slices"
	"strings"
	"time"
)

// RunSort is what a list of runs is sorted by; with "-" before it, the highest
// come first.
type RunSort string

// RunSorts lists what runs are sorted by.
func RunSorts() []string {
	return []string{"created", "name", "state", "queued", "started", "ended", "priority"}
}

// NewestFirst is how runs are sorted where nobody says how.
const NewestFirst RunSort = "-created"

// Split returns what is sorted by, and whether the highest come first.
func (s RunSort) Split() (by string, down bool) {
	by, down = strings.CutPrefix(string(s), "-")
	return by, down
}

// Validate refuses a sort that does not exist.
func (s RunSort) Validate() error {
	by, _ := s.Split()
	if slices.Contains(RunSorts(), by) {
		return nil
	}
	return Errorf(CodeInvalid, "runs are not sorted by %q", string(s)).At("sort").
		WithCure("use one of %s, with - before it for the highest first", strings.Join(RunSorts(), ", "))
}

// RunFilter chooses runs of a workspace; empty fields choose all.
type RunFilter struct {
	Workspace    string
	Experiment   string
	Parent       string
	States       []RunState
	Name         string            // the beginning of it
	Tags         map[string]string // all of these
	Cluster      string
	CreatedAfter time.Time
	EndedAfter   time.Time
	Archived     Archived

	Sort  RunSort   // "" is NewestFirst
	Limit int       // at most this many; 0 is 100
	After *RunPlace // only what stands behind this place: where the page before ended
}

// Archived says which runs of a list are wanted by whether they are archived.
type Archived string

// What is wanted; "" is ArchivedFalse.
const (
	ArchivedFalse Archived = "false"
	ArchivedTrue  Archived = "true"
	ArchivedAll   Archived = "all"
)

// RunPlace is a place in a list of runs that stands while runs are added and
// change: the list is that of the moment of its first page, and sorted by what
// was true then.
type RunPlace struct {
	Newest int64  // the id of the last run of that moment
	Seq    int64  // the number of the last event of that moment
	Number int64  // what the last run of the page is sorted by, a number
	Text   string // or a text
	ID     int64  // of the last run of the page
}

// RunPage is a page of a list of runs.
type RunPage struct {
	Runs []*RunView `json:"runs"`           // without attempts and outputs
	Next string     `json:"next,omitempty"` // the cursor of the next page; "" at the end
}
