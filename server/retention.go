package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/artifact"
	"github.com/muster-ml/muster/store"
)

// How often retention is due, and how long what is marked as removed is removed
// again: a server may have died in between.
const (
	retentionPeriod = 24 * time.Hour
	retentionAgain  = 3 * retentionPeriod
)

// retention removes what is older than its workspace keeps.
type retention struct {
	store   *store.Store
	bucket  *artifact.Bucket
	leading func() bool
	now     func() time.Time
	log     *slog.Logger
}

// Run does it daily while this server leads, until ctx ends.
func (r *retention) Run(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	var last time.Time
	for {
		if r.leading() && time.Since(last) >= retentionPeriod {
			last = time.Now()
			r.retainAll(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// retainAll looks at every workspace.
func (r *retention) retainAll(ctx context.Context) {
	all, err := r.store.ListTenants(ctx)
	if err != nil {
		r.log.Error("retention", "error", err)
	}
	for _, w := range all {
		report, err := r.retain(ctx, w, false)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.log.Error("retention", "workspace", w.Name, "error", err)
		case len(report.Runs) > 0 || report.Uploads > 0:
			r.log.Info("retention", "workspace", w.Name, "runs", len(report.Runs), "uploads", report.Uploads, "bytes", report.Bytes)
		}
	}
}

// Retain removes what is older than the workspace keeps, or only tells of it.
func (r *retention) Retain(ctx context.Context, workspace string, dryRun bool) (*muster.RetentionReport, error) {
	w, err := r.store.FindWorkspace(ctx, workspace)
	if err != nil {
		return nil, err
	}
	return r.retain(ctx, w, dryRun)
}

// retain does it for one workspace, which may be deleted by now.
func (r *retention) retain(ctx context.Context, w *muster.Workspace, dryRun bool) (*muster.RetentionReport, error) {
	report := &muster.RetentionReport{Keeping: w.Keeping, DryRun: dryRun, Runs: []muster.Removal{}}
	left, err := r.store.ListLeft(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	now := r.now()
	for _, l := range left {
		artifacts, logs := w.Keeping.Expired(l, now)
		again := !dryRun && !artifacts && !logs && (recent(l.ArtifactsRemoved, now) || recent(l.LogsRemoved, now))
		if again {
			artifacts, logs = recent(l.ArtifactsRemoved, now), recent(l.LogsRemoved, now)
		}
		if !artifacts && !logs {
			continue
		}
		one, err := r.run(ctx, l, artifacts, logs, dryRun || again, dryRun)
		if err != nil {
			return nil, err
		}
		if report.Bytes += one.Bytes; one.Artifacts+one.Logs > 0 {
			report.Runs = append(report.Runs, *one)
		}
	}
	return report, r.uploads(ctx, w, report, now)
}

// recent reports whether something was marked as removed a short while ago.
func recent(at, now time.Time) bool { return !at.IsZero() && now.Sub(at) < retentionAgain }

// run removes what one run left. It is marked first: who asks for it from then
// on is told why it is gone.
func (r *retention) run(ctx context.Context, l *muster.Left, artifacts, logs, marked, dryRun bool) (*muster.Removal, error) {
	one := &muster.Removal{Run: l.Run, EndedAt: l.EndedAt}
	if !marked {
		if may, err := r.store.MarkRemoved(ctx, l, artifacts, logs); err != nil || !may {
			return one, err
		}
	}
	for number, instances := range l.Attempts {
		for i := range instances {
			base := fmt.Sprintf("runs/%d/%d/%d/", l.RunID, number+1, i)
			for what, wanted := range map[string]bool{"artifacts/": artifacts, "parts/": artifacts, "logs/": logs} {
				if !wanted {
					continue
				}
				n, bytes, err := r.bucket.Purge(ctx, base+what, nil, dryRun)
				if err != nil {
					return nil, err
				}
				if one.Bytes += bytes; what == "logs/" {
					one.Logs += n
				} else {
					one.Artifacts += n
				}
			}
		}
	}
	return one, nil
}

// uploads removes the old uploads that no run keeps, and what is left of uploads
// that broke off.
func (r *retention) uploads(ctx context.Context, w *muster.Workspace, report *muster.RetentionReport, now time.Time) error {
	named, err := r.store.NamedUploads(ctx, w.ID)
	if err != nil {
		return err
	}
	old := func(b muster.Blob) bool { return now.Sub(b.At) > muster.KeepUploads }
	base := muster.UploadKey(w.ID, "")
	n, bytes, err := r.bucket.Purge(ctx, base, func(b muster.Blob) bool { return old(b) && !named[muster.UploadRef(strings.TrimPrefix(b.Key, base))] }, report.DryRun)
	if err != nil {
		return err
	}
	report.Uploads, report.Bytes = n, report.Bytes+bytes
	parts := strings.TrimSuffix(muster.UploadPartsKey(w.ID, ""), "/")
	n, bytes, err = r.bucket.Purge(ctx, parts, old, report.DryRun)
	report.Uploads, report.Bytes = report.Uploads+n, report.Bytes+bytes
	return err
}
