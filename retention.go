package muster

import (
	"context"
	"time"
)

// KeepUploads is how long an upload is kept that no run names which is kept,
// since it came or somebody was told last that it is here.
const KeepUploads = 7 * 24 * time.Hour

// Keeping says how long a workspace keeps what its runs left, counted from a
// run's end. 0 is for ever.
type Keeping struct {
	Artifacts Duration `json:"keep_artifacts" minimum:"0" doc:"Seconds after a run's end until its files go; 0 is never."`
	Logs      Duration `json:"keep_logs" minimum:"0" doc:"Seconds after a run's end until its logs go; 0 is never."`
}

// Left is what a final run left, as retention sees it.
type Left struct {
	RunID            int64
	Run              string
	EndedAt          time.Time // zero before the end
	ArchivedAt       time.Time
	Deleted          bool // by a person: it keeps nothing
	ArtifactsRemoved time.Time
	LogsRemoved      time.Time
	ArtifactsPurged  bool // what was removed is known to be gone
	LogsPurged       bool
	Attempts         []int // by number - 1: how many instances it had
}

// Expired tells what of a run goes. What has not ended, what is archived and
// what is gone already never does.
func (k Keeping) Expired(l *Left, now time.Time) (artifacts, logs bool) {
	if l.Deleted {
		return l.ArtifactsRemoved.IsZero(), l.LogsRemoved.IsZero()
	}
	if l.EndedAt.IsZero() || !l.ArchivedAt.IsZero() {
		return false, false
	}
	old := func(keep Duration) bool { return keep > 0 && now.Sub(l.EndedAt) > time.Duration(keep) }
	return l.ArtifactsRemoved.IsZero() && old(k.Artifacts), l.LogsRemoved.IsZero() && old(k.Logs)
}

// Removal is what of one run goes.
type Removal struct {
	Run       string    `json:"run"`
	Deleted   bool      `json:"deleted,omitempty" doc:"A person has deleted the run: nothing of it is kept."`
	EndedAt   time.Time `json:"ended_at"`
	Artifacts int       `json:"artifacts"` // objects in the store
	Logs      int       `json:"logs"`      // objects in the store
	Bytes     int64     `json:"bytes"`
}

// RetentionReport says what retention removes of a workspace.
type RetentionReport struct {
	Keeping
	DryRun  bool      `json:"dry_run"` // nothing was removed: this is what would be
	Runs    []Removal `json:"runs"`
	Uploads int       `json:"uploads"` // that no run names which is kept
	Bytes   int64     `json:"bytes"`   // of all together
}

// Retention removes what is older than its workspace keeps.
type Retention interface {
	Retain(ctx context.Context, workspace string, dryRun bool) (*RetentionReport, error)
}

// Archive keeps runs out of lists, and from retention, and tells what retention
// has removed.
type Archive interface {
	// ArchiveRun archives a run, or takes it back. One that is not final is
	// CodeConflict; one that is as wanted already stays so.
	ArchiveRun(ctx context.Context, workspace, name string, archived bool, by Origin) error
	// SetKeeping says how long a workspace keeps what its runs left. A workspace
	// of another version than by demands is CodePrecondition.
	SetKeeping(ctx context.Context, workspace string, k Keeping, by Origin) (*Workspace, error)
	// SeeUpload keeps an upload for KeepUploads from now on: somebody is told that
	// it is here, and may name it in a run. Look for it after the call: retention
	// may have removed it before.
	SeeUpload(ctx context.Context, workspaceID int64, sha256 string) error
	// LogsRemoved returns when retention removed a run's logs; zero is never.
	LogsRemoved(ctx context.Context, runID int64) (time.Time, error)
	// FilesRemoved returns when retention removed a run's files; zero is never.
	FilesRemoved(ctx context.Context, runID int64) (time.Time, error)
}
