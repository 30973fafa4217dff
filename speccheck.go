package muster

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Validate refuses a spec that cannot be run; call Complete first.
func (s *Spec) Validate() error {
	if strings.TrimSpace(s.Command) == "" {
		return Errorf(CodeInvalid, "the run has no command").At("command").WithCure("say what to execute")
	}
	for _, limit := range []struct {
		field        string
		v, low, high int64
	}{
		{"priority", int64(s.Priority), 1, MaxPriority},
		{"retries", int64(s.Retries), 0, MaxRetries},
		{"max_evictions", int64(s.Evictions), 0, DefaultEvictions},
		{"timeout", int64(time.Duration(s.Timeout) / time.Second), 1, int64(time.Duration(DefaultTimeout) / time.Second)},
		{"grace", int64(time.Duration(s.Grace) / time.Second), 0, 3600},
		{"groups", int64(len(s.Groups)), 1, 16},
	} {
		if limit.v < limit.low || limit.v > limit.high {
			return Errorf(CodeInvalid, "%s is %d", limit.field, limit.v).At(limit.field).WithCure("use %d to %d", limit.low, limit.high)
		}
	}
	if s.Tier != "" && s.Tier != TierDedicated && s.Tier != TierLowPriority {
		return Errorf(CodeInvalid, "%q is not a tier", s.Tier).At("tier").WithCure("use %s or %s", TierDedicated, TierLowPriority)
	}
	names := map[string]bool{}
	for i, g := range s.Groups {
		if err := g.validate(); err != nil {
			return Within(err, fmt.Sprintf("groups[%d]", i))
		}
		if names[g.Name] {
			return Errorf(CodeInvalid, "two groups are named %s", g.Name).At("groups").WithCure("give each its own name")
		}
		names[g.Name] = true
	}
	if err := s.Container.validate(); err != nil {
		return err
	}
	if err := s.validateTexts(); err != nil {
		return err
	}
	return s.validateData()
}

// validateTexts refuses what cannot be handed to a process.
func (s *Spec) validateTexts() error {
	texts := map[string]string{"command": s.Command, "checkpoint_command": s.Checkpoint}
	for name, value := range s.Variables {
		texts["environment_variables."+name] = value
	}
	for name, in := range s.Inputs {
		if in.Literal != nil {
			texts["inputs."+name] = *in.Literal
		}
	}
	for _, field := range slices.Sorted(maps.Keys(texts)) {
		if strings.ContainsRune(texts[field], 0) {
			return Errorf(CodeInvalid, "%s holds a zero byte", field).At(field).WithCure("take it out")
		}
	}
	return nil
}

// oneOf refuses a value that is none of those that are known; "" is left out.
func oneOf[T ~string](what, at, field string, v T, known ...T) error {
	if v == "" || slices.Contains(known, v) {
		return nil
	}
	last := len(known) - 1
	cure := fmt.Sprintf("use %s or %s", known[0], known[last])
	if last == 2 {
		cure = fmt.Sprintf("use %s, %s or %s", known[0], known[1], known[2])
	}
	return Errorf(CodeInvalid, "%s has %s %q", what, field, string(v)).At(at+"."+field).WithCure("%s", cure)
}

// validate refuses a group that cannot be placed anywhere.
func (g *Group) validate() error {
	if err := CheckName("group", g.Name); err != nil {
		return err
	}
	if g.Count < 1 || g.Count > MaxInstances {
		return Errorf(CodeInvalid, "instance count is %d", g.Count).At("count").WithCure("use 1 to %d", MaxInstances)
	}
	if g.Ask == nil {
		return nil
	}
	return Within(g.Ask.validate(), "resources")
}

// validate refuses what no node has.
func (a *Ask) validate() error {
	for _, limit := range []struct {
		field, unit    string
		v, least, most Amount
	}{
		{"cpus", "cpus", a.Cores, 1, Whole(1e6)},
		{"memory_mib", "MiB of memory", a.MiB, Whole(16), Whole(1 << 30)},
		{"gpus", "gpus", a.GPUs, 0, Whole(1024)},
	} {
		if limit.v < limit.least || limit.v > limit.most {
			asked := "asks for " + limit.v.String()
			if limit.v > limit.most {
				asked = "asks for more than " + limit.most.String() // as a number it may be cut
			}
			return Errorf(CodeInvalid, "%s %s", asked, limit.unit).At(limit.field).WithCure("use %s to %s", limit.least, limit.most)
		}
	}
	if a.GPUs == 0 && a.GPUModel != "" {
		return Errorf(CodeInvalid, "names the model %s, and asks for no gpus", a.GPUModel).At("gpu_model").WithCure("say how many: gpus: 1")
	}
	if a.GPUs%Whole(1) != 0 {
		parts := Amount(a.Share())
		if a.GPUs > Whole(1) || parts > MaxShares || max(Whole(1)-a.GPUs*parts, a.GPUs*parts-Whole(1)) > parts {
			return Errorf(CodeInvalid, "asks for %s gpus", a.GPUs).At("gpus").
				WithCure("ask for whole ones, or for exactly one share: 0.5, 0.333, 0.25 or another 1/N")
		}
	}
	return nil
}

// validateData refuses names that cannot be variables and data that is neither
// literal nor reference.
func (s *Spec) validateData() error {
	for _, name := range slices.Sorted(maps.Keys(s.Variables)) {
		if !variableRE.MatchString(name) {
			return Errorf(CodeInvalid, "%q is not a name of an environment variable", name).At("environment_variables." + name).
				WithCure("use letters, digits and '_', and no digit first")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Inputs)) {
		in, at := s.Inputs[name], "inputs."+name
		switch {
		case !portRE.MatchString(name):
			return Errorf(CodeInvalid, "%q is not a name of an input", name).At(at).WithCure("use letters, digits, '_' and '-'")
		case (in.Literal != nil) == (in.Ref != ""):
			return Errorf(CodeInvalid, "input %q needs either a literal or a path", name).At(at)
		case in.Ref != "":
			if err := in.Ref.Validate(); err != nil {
				return fmt.Errorf("input %q: %w", name, err)
			}
		}
		what := fmt.Sprintf("input %q", name)
		if err := cmp.Or(oneOf(what, at, "type", in.Type, TypeURIFile, TypeURIFolder), oneOf(what, at, "mode", in.Mode, ModeROMount, ModeDownload, ModeDirect)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Outputs)) {
		if !portRE.MatchString(name) {
			return Errorf(CodeInvalid, "%q is not a name of an output", name).At("outputs." + name).WithCure("use letters, digits, '_' and '-'")
		}
		if reservedRE.MatchString(name) {
			return Errorf(CodeInvalid, "the name %q of an output is reserved: files of that name are kept of every run", name).At("outputs." + name).WithCure("give it another name")
		}
		what, at, out := fmt.Sprintf("output %q", name), "outputs."+name, s.Outputs[name]
		if err := cmp.Or(oneOf(what, at, "type", out.Type, TypeURIFile, TypeURIFolder), oneOf(what, at, "mode", out.Mode, "rw_mount", "upload", "direct")); err != nil {
			return err
		}
	}
	if s.Code != "" {
		return s.Code.Validate()
	}
	return nil
}

// reservedRE is how folders of artifacts are named that are no outputs.
var reservedRE = regexp.MustCompile(`^(outputs|logs|checkpoint|instance-[0-9]+)$`)

// Image returns the image in whose container the run is executed, "" for the
// node itself.
func (s *Spec) Image() string {
	if s.Container == nil {
		return ""
	}
	return s.Container.Image
}

// Instances returns how many instances the run has in all its groups.
func (s *Spec) Instances() int {
	n := 0
	for _, g := range s.Groups {
		n += g.Count
	}
	return n
}

// Ref names data by a canonical string: upload:sha256:<hex> for what was
// uploaded with the run, or an http(s) URL.
type Ref string

var uploadRE = regexp.MustCompile(`^upload:sha256:[0-9a-f]{64}$`)

// UploadRef returns the reference of the upload with this SHA-256 in hex.
func UploadRef(sha256 string) Ref { return Ref("upload:sha256:" + sha256) }

// Upload returns the SHA-256 of the upload that r names; ok is false for
// another kind of reference.
func (r Ref) Upload() (sha256 string, ok bool) {
	return strings.CutPrefix(string(r), "upload:sha256:")
}

// Web reports whether r is an http(s) URL.
func (r Ref) Web() bool {
	return strings.HasPrefix(string(r), "https://") || strings.HasPrefix(string(r), "http://")
}

// Validate refuses what no agent could resolve.
func (r Ref) Validate() error {
	if r.Web() || uploadRE.MatchString(string(r)) {
		return nil
	}
	return Errorf(CodeInvalid, "%q is not a reference to data that works yet", r).
		WithCure("use an uploaded file or folder, or an http(s) URL")
}

// CheckPath refuses a path of a file inside a run that leads out of it.
func CheckPath(p string) error {
	if p == "" || len(p) > 4096 || path.Clean("/"+p) != "/"+p || strings.ContainsAny(p, "\x00\\") || !utf8.ValidString(p) {
		return Errorf(CodeInvalid, "%q is not a path of a file in a run", p).WithCure("use a relative path in UTF-8, without '.', '..' or '\\'")
	}
	return nil
}
