package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/bundle"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/jobfile"
)

func submitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "set", Usage: "`PLACE=VALUE` to put into the file, such as inputs.x=1; may be given again"},
		&cli.StringFlag{Name: "experiment", Aliases: []string{"e"}, Usage: "`NAME` of the experiment"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the run (default: one is made)"},
		&cli.StringFlag{Name: "parent", Usage: "the `RUN` of which it is a child"},
		&cli.BoolFlag{Name: "wait", Usage: "wait for the end; exit code 1 unless it succeeded"},
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "wait, and print both streams live"}}
}

func submitRun(c *cli.Context) error {
	args, err := arguments(c, "FILE", "[FILE…]")
	if err != nil {
		return err
	}
	if len(args) > 1 {
		return submitRuns(c, args)
	}
	job, err := readJob(c, args[0])
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	s := submission{api: api, workspace: workspaceOf(c), note: c.App.ErrWriter, ui: c}
	r, err := s.submit(c.Context, job)
	if err != nil {
		return err
	}
	return afterSubmit(c, api, r)
}

// afterSubmit prints the run's name, and waits or follows where that is wanted.
func afterSubmit(c *cli.Context, api *client.Client, r *muster.Run) error {
	switch {
	case c.Bool("follow"), c.Bool("wait") && structured(c): // then it is told as it has ended
	default:
		if err := show(c, r, func(t *table) { t.line("%s", r.Name) }); err != nil {
			return err
		}
	}
	if !c.Bool("follow") && !c.Bool("wait") {
		return nil
	}
	return awaitRun(c, api, r)
}

// structured reports whether programs read what is shown.
func structured(c *cli.Context) bool {
	return slices.Contains([]string{"json", "yaml"}, c.String("output"))
}

// awaitRun waits for a run that was submitted. Ctrl-C ends the waiting, not the
// run.
func awaitRun(c *cli.Context, api *client.Client, r *muster.Run) error {
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt)
	defer stop()
	var v *muster.RunView
	var err error
	if c.Bool("follow") {
		v, err = newFollower(c, api, r.Workspace, r.Name).follow(ctx)
	} else {
		v, err = awaitEnd(ctx, c, api, r.Workspace, r.Name)
	}
	if ctx.Err() != nil && c.Context.Err() == nil {
		return cli.Exit(fmt.Sprintf("no longer waiting; run %s goes on\n  muster run logs -f %s follows it again, muster run cancel %s ends it", r.Name, r.Name, r.Name), 130)
	}
	if err != nil {
		return err
	}
	if structured(c) && !c.Bool("follow") {
		if err := show(c, full(v), nil); err != nil {
			return err
		}
	}
	return ended(v, !c.Bool("follow"))
}

// readJob reads the job file with what flags put into it.
func readJob(c *cli.Context, file string) (*jobfile.Job, error) {
	set := map[string]string{}
	for _, s := range c.StringSlice("set") {
		place, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, muster.Errorf(muster.CodeInvalid, "--set %s has no value", s).WithCure("write it like --set inputs.x=1")
		}
		set[place] = value
	}
	if c.IsSet("name") {
		if err := checkRunName(c.String("name")); err != nil {
			return nil, err
		}
	}
	for _, flag := range []struct{ name, place string }{{"name", "name"}, {"experiment", "experiment_name"}} {
		if c.IsSet(flag.name) {
			set[flag.place] = c.String(flag.name)
		}
	}
	from := c.App.Reader
	if file != "-" {
		f, err := openFile("job", file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	job, err := jobfile.Read(from, file, set)
	if err == nil && c.IsSet("parent") {
		job.Request.Parent = c.String("parent")
	}
	return job, err
}

// openFile opens the file that says what a job or a cluster is.
func openFile(noun, file string) (*os.File, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, muster.Errorf(muster.CodeInvalid, "the %s file cannot be read: %v", noun, err).WithCure("name one that is there, and that you may read")
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, muster.Errorf(muster.CodeInvalid, "%s is a folder, and not a %s file", file, noun).WithCure("name the file in it")
	}
	return f, nil
}

// submission brings a job to a server.
type submission struct {
	api       *client.Client
	workspace string
	ui        *cli.Context
	note      io.Writer
}

// submit uploads what the job needs and creates the run. The run comes last:
// what is refused before leaves nothing behind but uploads.
func (s *submission) submit(ctx context.Context, job *jobfile.Job) (*muster.Run, error) {
	if err := s.bring(ctx, job); err != nil {
		return nil, err
	}
	r, err := s.api.CreateRun(ctx, s.workspace, &job.Request)
	return r, placed(err, &job.Written)
}

// bring uploads what a job needs, and names the uploads in its request.
func (s *submission) bring(ctx context.Context, job *jobfile.Job) error {
	q := &job.Request
	if q.Name == "" {
		q.Name = muster.GenerateName()
	}
	if job.Code != "" {
		ref, err := s.upload(ctx, "code", job.Code)
		if err != nil {
			return err
		}
		q.Spec.Code = ref
	}
	for _, name := range slices.Sorted(maps.Keys(job.Uploads)) {
		ref, err := s.upload(ctx, "input "+name, job.Uploads[name])
		if err != nil {
			return err
		}
		in := q.Spec.Inputs[name]
		in.Ref = ref
		q.Spec.Inputs[name] = in
	}
	for _, warning := range q.Spec.Warnings {
		fmt.Fprintln(s.note, "note:", warning)
	}
	return nil
}

// placed lets a refusal of the server say which line of a file it is about.
func placed(err error, file *jobfile.Written) error {
	e, ok := err.(*muster.Error)
	if !ok || !slices.Contains([]muster.Code{muster.CodeRefused, muster.CodeInvalid, muster.CodeNotFound}, e.Code) || e.Field == "" {
		return err
	}
	there := *e
	there.Field = file.Key(e.Field)
	if rest, about := strings.CutPrefix(e.Message, lastOf(e.Field)+" "); about {
		there.Message = lastOf(there.Field) + " " + rest
	}
	if at := file.Place(e.Field); at != "" {
		there.Message = at + ": " + there.Message
	}
	return &there
}

// lastOf returns the last word of a place such as setup.command.
func lastOf(place string) string { return place[strings.LastIndex(place, ".")+1:] }

// upload packs a file or folder and brings it to the server, unless the same is
// there already.
func (s *submission) upload(ctx context.Context, what, path string) (muster.Ref, error) {
	b, err := bundle.Pack(path)
	if err != nil {
		return "", err
	}
	for _, link := range b.Skipped {
		fmt.Fprintf(s.note, "note: %s: the link %s leads out of the folder and is left out\n", what, link)
	}
	moved, done := progress(s.ui, what, b.Size)
	sent, err := s.api.PutUpload(ctx, s.workspace, client.Upload{SHA256: b.SHA256, Size: b.Size, Open: b.Open, Moved: moved})
	done(err == nil)
	if err != nil {
		return "", fmt.Errorf("upload %s: %w", what, err)
	}
	how := "sent"
	if sent == 0 {
		how = "nothing to send: the server has it"
	}
	left := ""
	if b.Ignored > 0 {
		left = fmt.Sprintf(" (%d left out by ignore files)", b.Ignored)
	}
	fmt.Fprintf(s.note, "%s: %s%s, %s packed, %s\n", what, count(b.Files, "file"), left, bytesOf(b.Size), how)
	return muster.UploadRef(b.SHA256), nil
}
