package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/store"
)

// How often retention is due, and how long what is marked as removed is removed
// again at least: an agent may have been late.
const (
	retentionPeriod = 24 * time.Hour
	retentionAgain  = 3 * retentionPeriod
)

// retention removes what is older than its workspace keeps.
type retention struct {
	store   *store.Store
	bucket  shelf
	leading func() bool
	now     func() time.Time
	log     *slog.Logger
	one     sync.Mutex // at a time: another would go by a list that is old
}

// shelf is where the bytes are: the bucket.
type shelf interface {
	muster.Blobs
	Purge(ctx context.Context, prefix string, which func(muster.Blob) bool, dryRun bool) (n int, bytes int64, err error)
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
	if err := r.nodeLogs(ctx); err != nil {
		r.log.Error("retention", "error", err)
	}
	for _, w := range all {
		report, err := r.retain(ctx, w, false)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.log.Error("retention", "workspace", w.Name, "error", err)
		}
		if report != nil && (len(report.Runs) > 0 || report.Uploads > 0) {
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

// retain does it for one workspace, which may be deleted by now. What cannot be
// removed stands in the way of nothing else.
func (r *retention) retain(ctx context.Context, w *muster.Workspace, dryRun bool) (*muster.RetentionReport, error) {
	if !dryRun {
		r.one.Lock()
		defer r.one.Unlock()
	}
	report := &muster.RetentionReport{Keeping: w.Keeping, DryRun: dryRun, Runs: []muster.Removal{}}
	left, err := r.store.ListLeft(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range left {
		one, err := r.run(ctx, w.Keeping, l, dryRun)
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("run %s: %w", l.Run, err))
		}
		if report.Bytes += one.Bytes; one.Artifacts+one.Logs > 0 {
			report.Runs = append(report.Runs, *one)
		}
	}
	return report, errors.Join(append(errs, r.uploads(ctx, w, report))...)
}

// run removes what one run left. It is marked first: who asks for it from then
// on is told why it is gone. What is marked is removed again until it is known
// to be gone: a server may have died in between, or an agent been late.
func (r *retention) run(ctx context.Context, keeping muster.Keeping, l *muster.Left, dryRun bool) (*muster.Removal, error) {
	one, now := &muster.Removal{Run: l.Run, Deleted: l.Deleted, EndedAt: l.EndedAt}, r.now()
	artifacts, logs := keeping.Expired(l, now)
	if dryRun {
		return one, r.purge(ctx, l, one, artifacts, logs, true)
	}
	if artifacts || logs {
		may, err := r.store.MarkRemoved(ctx, l, artifacts, logs)
		if err != nil {
			return one, err
		}
		artifacts, logs = artifacts && may, logs && may
	}
	again := func(removed time.Time, purged bool) bool { return !removed.IsZero() && !purged }
	moreArtifacts, moreLogs := again(l.ArtifactsRemoved, l.ArtifactsPurged), again(l.LogsRemoved, l.LogsPurged)
	if err := r.purge(ctx, l, one, artifacts || moreArtifacts, logs || moreLogs, false); err != nil {
		return one, err
	}
	if l.Deleted {
		if err := r.store.DropStats(ctx, l.RunID); err != nil {
			return one, err
		}
	}
	moreArtifacts = moreArtifacts && now.Sub(l.ArtifactsRemoved) > retentionAgain
	moreLogs = moreLogs && now.Sub(l.LogsRemoved) > retentionAgain
	if !moreArtifacts && !moreLogs {
		return one, nil
	}
	return one, r.store.MarkPurged(ctx, l.RunID, moreArtifacts, moreLogs)
}

// purge removes a run's files, its logs or both, and counts them in one.
func (r *retention) purge(ctx context.Context, l *muster.Left, one *muster.Removal, artifacts, logs, dryRun bool) error {
	var errs []error
	for number, instances := range l.Attempts {
		for i := range instances {
			base := fmt.Sprintf("runs/%d/%d/%d/", l.RunID, number+1, i)
			for what, wanted := range map[string]bool{"artifacts/": artifacts, "parts/": artifacts, "logs/": logs} {
				if !wanted {
					continue
				}
				n, bytes, err := r.bucket.Purge(ctx, base+what, nil, dryRun)
				if err != nil {
					errs = append(errs, err)
				}
				if one.Bytes += bytes; what == "logs/" {
					one.Logs += n
				} else {
					one.Artifacts += n
				}
			}
		}
	}
	return errors.Join(errs...)
}

// uploads removes the old uploads that no run keeps, and what is left of uploads
// that broke off. Before each it is looked once more whether something keeps it:
// all of them together take a while.
func (r *retention) uploads(ctx context.Context, w *muster.Workspace, report *muster.RetentionReport) error {
	since := r.now().Add(-muster.KeepUploads)
	kept, err := r.store.KeptUploads(ctx, w.ID, since)
	if err != nil {
		return err
	}
	var errs []error
	base := muster.UploadKey(w.ID, "")
	for b, err := range r.bucket.List(ctx, base) {
		if err != nil {
			errs = append(errs, err)
			break
		}
		sum := strings.TrimPrefix(b.Key, base)
		if !b.At.Before(since) || kept[muster.UploadRef(sum)] {
			continue
		}
		dropped := report.DryRun
		if !dropped {
			dropped, err = r.store.DropUpload(ctx, w.ID, sum, since, func() error { return r.bucket.Delete(ctx, b.Key) })
			errs = append(errs, err)
		}
		if dropped {
			report.Uploads, report.Bytes = report.Uploads+1, report.Bytes+b.Size
		}
	}
	parts := strings.TrimSuffix(muster.UploadPartsKey(w.ID, ""), "/")
	n, bytes, err := r.bucket.Purge(ctx, parts, func(b muster.Blob) bool { return b.At.Before(since) }, report.DryRun)
	report.Uploads, report.Bytes = report.Uploads+n, report.Bytes+bytes
	return errors.Join(append(errs, err)...)
}
