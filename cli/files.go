package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

func filesOfRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	files, err := o.api.Artifacts(c.Context, o.workspace, o.name)
	if err != nil {
		return err
	}
	return list(c, files, listing[*muster.Artifact]{
		head: []string{"PATH", "SIZE", "ATTEMPT", "SHA-256"},
		row: func(f *muster.Artifact) []string {
			return []string{f.Path, bytesOf(f.Size), fmt.Sprint(f.Attempt), f.SHA256[:min(12, len(f.SHA256))]}
		},
		empty: "The run has left no file. What its command writes to ./outputs is kept when the command ends.",
	})
}

func downloadRun(c *cli.Context) error {
	o, err := aboutRun(c, "[PATH…]")
	if err != nil {
		return err
	}
	defer o.api.Close()
	files, err := o.api.Artifacts(c.Context, o.workspace, o.name)
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
		if err := o.api.Download(c.Context, o.workspace, o.name, f, dir); err != nil {
			return err
		}
		size += f.Size
	}
	return show(c, files, func(t *table) {
		for _, f := range files {
			t.line("%s", f.Path)
		}
		fmt.Fprintf(c.App.ErrWriter, "%s, %s, in %s\n", count(len(files), "file"), bytesOf(size), dir)
	})
}

// choose returns the files that paths name, or all for none. A path names a
// file or a folder.
func choose(files []*muster.Artifact, paths []string) (chosen []*muster.Artifact, err error) {
	if len(paths) == 0 {
		return files, nil
	}
	var all []string
	for _, f := range files {
		all = append(all, f.Path)
	}
	for _, p := range paths {
		p = strings.TrimSuffix(p, "/")
		found := false
		for _, f := range files {
			if f.Path == p || strings.HasPrefix(f.Path, p+"/") {
				found = true
				if !slices.Contains(chosen, f) {
					chosen = append(chosen, f)
				}
			}
		}
		if !found {
			return nil, muster.Errorf(muster.CodeNotFound, "the run has no file %s", p).WithCure("%s", didYouMean(p, all))
		}
	}
	return chosen, nil
}
