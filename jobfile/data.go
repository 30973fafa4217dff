package jobfile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
)

// dataTypes are the types of data; those that come later are "".
var dataTypes = map[string]muster.DataType{"uri_file": muster.TypeURIFile, "uri_folder": muster.TypeURIFolder,
	"mltable": "", "mlflow_model": "", "custom_model": "", "triton_model": "", "safe_model": ""}

// literalTypes are the types that a literal may be said to have.
var literalTypes = []string{"string", "integer", "number", "boolean"}

// readInputs reads the inputs.
func (j *job) readInputs(n *node, field string) error {
	j.Request.Spec.Inputs = map[string]muster.Input{}
	return j.entries(n, field, func(key, value *node, at string) error {
		if err := j.checkPort(key, at, "input"); err != nil {
			return err
		}
		in, err := j.readInput(key.Value, value, at)
		j.Request.Spec.Inputs[key.Value] = in
		return err
	})
}

// checkPort refuses a name that no input or output can have.
func (j *job) checkPort(key *node, field, noun string) error {
	probe := muster.Spec{Command: "true", Outputs: map[string]muster.Output{key.Value: {}}}
	probe.Complete()
	if probe.Validate() != nil {
		return j.errorf(key, field, "%q is not a name of an %s", key.Value, noun).WithCure("use letters, digits, '_' and '-', and begin with a letter or '_'")
	}
	return nil
}

// data is an input or output as it is written.
type data struct {
	kind, path, mode *node
	value            *node
}

// keep remembers a node.
func keep(to **node) func(n *node, field string) error {
	return func(n *node, _ string) error {
		if !n.null() {
			*to = n
		}
		return nil
	}
}

// readInput reads one input.
func (j *job) readInput(name string, n *node, field string) (in muster.Input, err error) {
	switch {
	case n.null():
		return in, j.errorf(n, field, "input %s has no value", name).WithCure("write a value, or path: with what to bring")
	case n.scalar():
		return muster.Input{Literal: &n.Value}, nil
	case n.Kind != yaml.MappingNode:
		return in, j.errorf(n, field, "input %s is a value or a mapping, and this is %s", name, describe(n))
	}
	var d data
	if err := j.mapping(n, field, readers{"type": keep(&d.kind), "path": keep(&d.path), "mode": keep(&d.mode), "value": keep(&d.value),
		"description": pass, "optional": pass, "path_on_compute": j.means("means nothing here and is passed over"),
		"datastore": j.comesLater("use a local path or an http(s) URL")}); err != nil {
		return in, err
	}
	if d.value != nil {
		if !d.value.scalar() || d.path != nil {
			return in, j.errorf(d.value, field+".value", "input %s has either one value or a path", name)
		}
		return muster.Input{Literal: &d.value.Value}, nil
	}
	if d.path == nil {
		return in, j.errorf(n, field, "input %s has neither a value nor a path", name).WithCure("write path: with a local path or an http(s) URL")
	}
	return j.readData(name, d, field)
}

// readData reads an input that is brought to the run.
func (j *job) readData(name string, d data, field string) (in muster.Input, err error) {
	if in.Type, err = j.dataType(d.kind, field+".type"); err != nil {
		return in, err
	}
	if d.mode != nil {
		if err := j.inputMode(&in, d.mode, field+".mode"); err != nil {
			return in, err
		}
	}
	path := ""
	if err := j.text(&path)(d.path, field+".path"); err != nil {
		return in, err
	}
	ref := muster.Ref(path)
	if _, upload := ref.Upload(); upload {
		in.Ref = ref
		return in, j.rePlace(d.path, field+".path", ref.Validate())
	}
	if ref.Web() {
		in.Ref = ref
		if in.Type == "" {
			in.Type = muster.TypeURIFile
		}
		return in, nil
	}
	if scheme, ok := remote(path); ok {
		return in, j.errorf(d.path, field+".path", "data from %s comes later", scheme).WithCure("use a local path or an http(s) URL")
	}
	local, found, err := j.local(d.path, field+".path", path)
	if err != nil {
		return in, err
	}
	if in.Type == "" {
		in.Type = found
	}
	if in.Type != found {
		what := map[muster.DataType]string{muster.TypeURIFile: "a file", muster.TypeURIFolder: "a folder"}
		return in, j.errorf(d.kind, field+".type", "%s is %s, and its type is %s", path, what[found], in.Type).WithCure("write type: %s", found)
	}
	j.Uploads[name] = local
	return in, nil
}

// dataType reads the type of data, "" where none is written.
func (j *job) dataType(n *node, field string) (muster.DataType, error) {
	if n == nil {
		return "", nil
	}
	t, ok := dataTypes[n.Value]
	switch {
	case n.Kind == yaml.ScalarNode && slices.Contains(literalTypes, n.Value):
		return "", j.errorf(n, field, "a %s is not brought by a path", n.Value).WithCure("write the value itself behind the name of the input")
	case !ok || n.Kind != yaml.ScalarNode:
		return "", j.errorf(n, field, "%s is not a type of data", quote(n)).WithCure("%s", nearest(n.Value, []string{"uri_file", "uri_folder"}, "use uri_file or uri_folder"))
	case t == "":
		return "", j.errorf(n, field, "data of type %s comes later", n.Value).WithCure("use uri_file or uri_folder")
	}
	return t, nil
}

// inputMode reads how an input is brought.
func (j *job) inputMode(in *muster.Input, n *node, field string) error {
	if n.Value == "eval_mount" || n.Value == "eval_download" {
		return j.errorf(n, field, "mode %s comes later", n.Value).WithCure("use ro_mount or download")
	}
	return choice(j, &in.Mode, map[string]muster.InputMode{"ro_mount": muster.ModeROMount, "download": muster.ModeDownload, "direct": muster.ModeDirect})(n, field)
}

// readOutputs reads the outputs.
func (j *job) readOutputs(n *node, field string) error {
	j.Request.Spec.Outputs = map[string]muster.Output{}
	return j.entries(n, field, func(key, value *node, at string) error {
		if err := j.checkPort(key, at, "output"); err != nil {
			return err
		}
		out := muster.Output{}
		var kind *node
		kept := "is passed over: outputs are kept with the run's artifacts"
		if err := j.mapping(value, at, readers{"type": keep(&kind), "description": pass,
			"mode": choice(j, &out.Mode, map[string]string{"rw_mount": "rw_mount", "upload": "upload", "direct": "direct"}),
			"path": j.means(kept), "name": j.means(kept), "version": j.means(kept)}); err != nil {
			return err
		}
		var err error
		if out.Type, err = j.dataType(kind, at+".type"); out.Type == "" {
			out.Type = muster.TypeURIFolder
		}
		j.Request.Spec.Outputs[key.Value] = out
		return err
	})
}

// remote reports whether a path leads off this machine, and whereto.
func remote(path string) (scheme string, ok bool) {
	if strings.HasPrefix(path, "${{") {
		return "expressions", true
	}
	scheme, rest, ok := strings.Cut(path, ":")
	switch {
	case !ok || strings.EqualFold(scheme, "file") || strings.ContainsAny(scheme, "/\\. "):
		return "", false
	case strings.HasPrefix(rest, "/") || scheme == "azureml" || scheme == "git+ssh" || scheme == "git@github.com":
		return scheme + ":", true
	}
	return "", false
}

// local finds a path on this machine, and what is there.
func (j *job) local(n *node, field, path string) (string, muster.DataType, error) {
	if j.sent {
		return "", "", j.errorf(n, field, "%s lies on the machine of whoever sends this file", path).
			WithCure("upload it, and write upload:sha256:… here; or submit the file with muster run submit, which does that")
	}
	clean := strings.TrimPrefix(strings.TrimPrefix(path, "file:"), "//")
	if !filepath.IsAbs(clean) {
		clean = filepath.Join(j.dir, clean)
	}
	info, err := os.Stat(clean)
	switch {
	case err != nil:
		return "", "", j.errorf(n, field, "%s does not exist", path).WithCure("paths are relative to the job file: %s was looked for", clean)
	case info.IsDir():
		return clean, muster.TypeURIFolder, nil
	case info.Mode().IsRegular():
		return clean, muster.TypeURIFile, nil
	}
	return "", "", j.errorf(n, field, "%s is neither a file nor a folder", path)
}
