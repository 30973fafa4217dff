package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// noFiles says why there may be nothing.
const noFiles = "The run has left no file. What its command writes to ./outputs is kept when the command ends."

// removed says that retention has removed what the run left, nil where it has
// not.
func (o *ofRun) removed() error {
	at, err := o.api.FilesRemoved(o.Context.Context, o.workspace, o.name)
	if err != nil || at.IsZero() {
		return err
	}
	return muster.Errorf(muster.CodeNotFound, "the files of run %s were removed by retention on %s", o.name, at.Local().Format(time.DateOnly)).
		WithCure("muster run archive keeps what a run left; muster workspace show tells how long it is kept otherwise")
}

func filesOfRun(c *cli.Context) error {
	o, err := aboutRun(c, "[PATH]")
	if err != nil {
		return err
	}
	defer o.api.Close()
	if len(o.more) > 1 {
		return muster.Errorf(muster.CodeInvalid, "muster run files takes one PATH, and got %d", len(o.more))
	}
	files, err := o.level(c.Bool("recursive"))
	if err == nil && len(files) == 0 {
		err = o.removed()
	}
	if err != nil {
		return err
	}
	return list(c, files, listing[*muster.Artifact]{
		head: []string{"PATH", "SIZE", "FILES", "ATTEMPT", "SHA-256"},
		row: func(f *muster.Artifact) []string {
			if f.Files > 0 {
				return []string{f.Path, bytesOf(f.Size), fmt.Sprint(f.Files), "-", "-"}
			}
			return []string{f.Path, bytesOf(f.Size), "-", fmt.Sprint(f.Attempt), f.SHA256[:min(12, len(f.SHA256))]}
		},
		wide:   []string{"CREATED", "INSTANCE"},
		more:   func(f *muster.Artifact) []string { return []string{clock(f.CreatedAt), fmt.Sprint(f.Instance)} },
		fields: map[string]string{"SHA-256": "sha256", "CREATED": "created_at"},
		empty:  noFiles,
	})
}

// level lists one level of a run's files, below the path that was named, or all
// of them. A path may name a file, too.
func (o *ofRun) level(all bool) ([]*muster.Artifact, error) {
	q := muster.ArtifactQuery{Folders: !all}
	if len(o.more) == 0 {
		return o.api.Artifacts(o.Context.Context, o.workspace, o.name, q)
	}
	name := strings.TrimSuffix(o.more[0], "/")
	q.Prefix = name + "/"
	files, err := o.api.Artifacts(o.Context.Context, o.workspace, o.name, q)
	if err != nil || len(files) > 0 {
		return files, err
	}
	q.Prefix = name
	files, err = o.api.Artifacts(o.Context.Context, o.workspace, o.name, q)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(files, func(f *muster.Artifact) bool { return f.Path == name }); i >= 0 {
		return files[i : i+1], nil
	}
	if err := o.removed(); err != nil {
		return nil, err
	}
	return nil, muster.Errorf(muster.CodeNotFound, "run %s has no file or folder %s", o.name, name).WithCure("muster run files %s -r lists all", o.name)
}

func downloadRun(c *cli.Context) error {
	o, err := aboutRun(c, "[PATH…]")
	if err != nil {
		return err
	}
	defer o.api.Close()
	if c.Int("parallel") < 1 {
		return muster.Errorf(muster.CodeInvalid, "--parallel is %d", c.Int("parallel")).WithCure("use 1 or more")
	}
	files, err := o.api.Artifacts(c.Context, o.workspace, o.name, muster.ArtifactQuery{})
	if err == nil && len(files) == 0 {
		err = o.removed()
	}
	if err != nil {
		return err
	}
	if files, err = choose(files, o.more); err != nil {
		return err
	}
	dir := c.String("dir")
	if dir == "" {
		dir = o.name
	}
	var size int64
	for _, f := range files {
		size += f.Size
	}
	moved, done := progress(c, "download", size)
	err = o.api.Download(c.Context, client.Download{Workspace: o.workspace, Run: o.name, Files: files, Dir: dir, Parallel: c.Int("parallel"), Moved: moved})
	done(err == nil)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		fmt.Fprintln(c.App.ErrWriter, noFiles)
	}
	return show(c, files, func(t *table) {
		for _, f := range files {
			t.line("%s", f.Path)
		}
		if len(files) > 0 {
			fmt.Fprintf(c.App.ErrWriter, "%s, %s, in %s\n", count(len(files), "file"), bytesOf(size), dir)
		}
	})
}

// progress shows how far a transfer is, on a terminal only. Moved is told of
// bytes, done of the end.
func progress(c *cli.Context, what string, size int64) (moved func(int64), done func(all bool)) {
	to, ok := c.App.ErrWriter.(*os.File)
	if !ok || !isTerminal(to) || c.String("output") == "json" || size == 0 {
		return func(int64) {}, func(bool) {}
	}
	return bar(to, what, size)
}

// bar draws a bar with what is done, how fast, and what is left.
func bar(to io.Writer, what string, size int64) (moved func(int64), done func(all bool)) {
	p := mpb.New(mpb.WithOutput(to), mpb.WithWidth(40))
	b := p.AddBar(size, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(what+" "), decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	return func(n int64) { b.IncrInt64(n) }, func(all bool) {
		if all {
			b.SetCurrent(size)
		} else {
			b.Abort(true)
		}
		p.Wait()
	}
}

// choose returns the files that paths name, or all for none. A path names a
// file or a folder, or is a pattern such as "outputs/**/*.pt".
func choose(files []*muster.Artifact, paths []string) (chosen []*muster.Artifact, err error) {
	if len(paths) == 0 {
		return files, nil
	}
	taken := map[string]bool{}
	for _, p := range paths {
		names, err := naming(p)
		if err != nil {
			return nil, err
		}
		found := false
		for _, f := range files {
			if !names(f.Path) {
				continue
			}
			if found = true; !taken[f.Path] {
				taken[f.Path] = true
				chosen = append(chosen, f)
			}
		}
		if !found {
			return nil, noSuchFile(files, p)
		}
	}
	return chosen, nil
}

// naming returns what tells whether a path on the command line names a file.
func naming(p string) (func(file string) bool, error) {
	p = strings.TrimSuffix(p, "/")
	if !doublestar.ValidatePattern(p) {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is no pattern", p).WithCure("use *, **, ?, [abc] and {one,other}; \\ before a character that is meant itself")
	}
	return func(file string) bool {
		return file == p || strings.HasPrefix(file, p+"/") || doublestar.MatchUnvalidated(p, file)
	}, nil
}

// noSuchFile says that a path names nothing, and what it might have meant.
func noSuchFile(files []*muster.Artifact, p string) error {
	var all []string
	for _, f := range files {
		all = append(all, f.Path)
	}
	e := muster.Errorf(muster.CodeNotFound, "the run has no file %s", p)
	if near := muster.Nearest(p, all); near != "" || len(all) <= 20 {
		return e.WithCure("%s", didYouMean(p, all))
	}
	return e.WithCure("muster run files -r lists its %d files", len(all))
}
