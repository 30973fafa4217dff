package jobfile

import (
	"strings"

	"github.com/muster-ml/muster"
)

// read reads a command job.
func (j *job) read(root *node) error {
	r, s := &j.Request, &j.Request.Spec
	s.Groups = []muster.Group{{Name: "main", Count: 1}}
	const nothing = "means nothing here and is passed over"
	if err := j.mapping(root, "", readers{
		"$schema": pass, "type": pass,
		"name":                  j.checkedName("run", &r.Name),
		"display_name":          j.text(&r.DisplayName),
		"experiment_name":       j.checkedName("experiment", &r.Experiment),
		"description":           j.text(&r.Description),
		"tags":                  j.words(&r.Tags),
		"properties":            j.words(&r.Properties),
		"command":               j.text(&s.Command),
		"code":                  j.readCode,
		"inputs":                j.readInputs,
		"outputs":               j.readOutputs,
		"environment_variables": j.words(&s.Variables),
		"environment":           j.readEnvironment,
		"compute":               j.readCompute,
		"resources":             j.readResources,
		"limits":                j.readLimits,
		"queue_settings":        j.readQueue,
		"distribution":          j.comesLater("leave it out and start the processes in the command, or run on one instance"),
		"identity":              j.means(nothing),
		"services":              j.means(nothing),
		"parent_job_name":       j.checkedName("run", &r.Parent),
		"x-muster":              j.readMuster,
	}); err != nil {
		return err
	}
	if strings.TrimSpace(s.Command) == "" {
		at := root
		if n := root.get("command"); n != nil {
			at = n
		}
		return j.errorf(at, "command", "the job has no command").WithCure("say what to execute: command: python train.py")
	}
	if err := j.checkExpressions(root.get("command")); err != nil {
		return err
	}
	return j.checkVariables(root.get("environment_variables"))
}

// checkVariables refuses names that no process can have in its environment.
func (j *job) checkVariables(n *node) error {
	if n == nil {
		return nil
	}
	for _, p := range n.pairs() {
		probe := muster.Spec{Command: "true", Variables: map[string]string{p.key.Value: p.value.Value}}
		probe.Complete()
		if err := probe.Validate(); err != nil {
			return j.rePlace(p.key, "environment_variables."+p.key.Value, err)
		}
	}
	return nil
}

// readCode reads where the code is.
func (j *job) readCode(n *node, field string) error {
	path := ""
	if err := j.text(&path)(n, field); err != nil || path == "" {
		return err
	}
	if ref := muster.Ref(path); ref.Validate() == nil && !ref.Web() {
		j.Request.Spec.Code = ref
		return nil
	}
	if scheme, ok := remote(path); ok {
		return j.errorf(n, field, "code from %s comes later", scheme).WithCure("use a local folder")
	}
	local, _, err := j.local(n, field, path)
	j.Code = local
	return err
}

// readCompute reads the cluster. local and serverless, which stand for the
// workspace's default cluster, are left to the server.
func (j *job) readCompute(n *node, field string) error {
	compute := ""
	if err := j.text(&compute)(n, field); err != nil {
		return err
	}
	compute = strings.TrimPrefix(compute, "azureml:")
	if compute == "" {
		return nil
	}
	if err := muster.CheckName("cluster", compute); err != nil {
		return j.rePlace(n, field, err)
	}
	j.Request.Spec.Compute = compute
	return nil
}

// readEnvironment reads an environment's name, or one defined in place.
func (j *job) readEnvironment(n *node, field string) error {
	to := &j.Request.Spec.Environment
	if n.null() || n.scalar() {
		if err := j.text(to)(n, field); err != nil {
			return err
		}
		if strings.HasPrefix(*to, "file:") || strings.HasPrefix(*to, "./") || strings.HasPrefix(*to, "../") {
			return j.errorf(n, field, "environments in files of their own come later").WithCure("write environment: azureml:NAME@latest, or image: under environment")
		}
		return nil
	}
	name, version := "", ""
	err := j.mapping(n, field, readers{
		"$schema": pass, "description": pass, "tags": pass, "os_type": pass, "inference_config": pass,
		"name": j.text(&name), "version": j.text(&version), "image": j.text(to),
		"build":      j.comesLater("name an image, or leave environment out to use what is on the node"),
		"conda_file": j.means("is not read yet: the packages must be on the node"),
	})
	if err == nil && *to == "" {
		return j.errorf(n, field, "the environment names no image").WithCure("write image: under environment, or environment: azureml:NAME@latest")
	}
	return err
}

// rePlace gives an error of the dictionary its place in the file.
func (j *job) rePlace(n *node, field string, err error) error {
	e, ok := err.(*muster.Error)
	if !ok {
		return err
	}
	placed := j.errorf(n, field, "%s", e.Message)
	placed.Cure = e.Cure
	return placed
}
