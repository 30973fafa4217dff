package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobfile"
)

// submitRuns submits several job files: all of them, or none.
func submitRuns(c *cli.Context, files []string) error {
	if c.IsSet("name") || c.Bool("wait") || c.Bool("follow") {
		return muster.Errorf(muster.CodeInvalid, "--name, --wait and --follow are for one job file, and there are %d", len(files)).
			WithCure("leave them out; muster run wait waits for a run")
	}
	jobs, requests := make([]*jobfile.Job, len(files)), make([]muster.RunRequest, len(files))
	for i, file := range files {
		var err error
		if jobs[i], err = readJob(c, file); err != nil {
			return err
		}
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	s := submission{api: api, workspace: workspaceOf(c), note: c.App.ErrWriter, ui: c}
	for i, job := range jobs {
		if err := s.bring(c.Context, job); err != nil {
			return err
		}
		requests[i] = job.Request
	}
	made, err := api.CreateRuns(c.Context, s.workspace, requests)
	if err != nil {
		return placedAmong(err, jobs, files)
	}
	if structured(c) {
		return show(c, made, nil)
	}
	for _, r := range made {
		fmt.Fprintln(c.App.Writer, r.Name)
	}
	return nil
}

// placedAmong lets a refusal of the server say which job file it is about, and
// which line of it.
func placedAmong(err error, jobs []*jobfile.Job, files []string) error {
	e, ok := err.(*muster.Error)
	if !ok {
		return err
	}
	for i, job := range jobs {
		field, about := strings.CutPrefix(e.Field+".", fmt.Sprintf("runs[%d].", i))
		if !about {
			continue
		}
		at := placed(e.At(strings.TrimSuffix(field, ".")), &job.Written)
		if at.Error() == e.Error() {
			named := *e
			named.Message = files[i] + ": " + e.Message
			return &named
		}
		return at
	}
	return err
}
