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

// Duration is a length of time; in JSON a number of seconds.
type Duration time.Duration

// Limits of a run that its file leaves out.
const (
	DefaultTimeout   = Duration(7 * 24 * time.Hour) // also the maximum
	DefaultGangLimit = Duration(5 * time.Minute)
	DefaultGrace     = Duration(30 * time.Second)
	MaxInstances     = 10_000
	MaxRetries       = 100
	MaxPriority      = 1000
	DefaultEvictions = 1000 // also the maximum
)

// Seconds makes a Duration.
func Seconds(s float64) Duration { return Duration(s * float64(time.Second)) }

// String shows it as 1h30m0s.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes seconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%g", time.Duration(d).Seconds()), nil
}

// UnmarshalJSON reads seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s float64
	if _, err := fmt.Sscanf(string(b), "%g", &s); err != nil {
		return Errorf(CodeInvalid, "%s is not a number of seconds", b)
	}
	*d = Seconds(max(-maxSeconds, min(s, maxSeconds)))
	return nil
}

// maxSeconds is more than any limit, and fits into a Duration.
const maxSeconds = 1e9

// Spec is what a run does: what a job file says, with local files already
// uploaded. It never changes once the run exists.
type Spec struct {
	Command      string            `json:"command"`
	Code         Ref               `json:"code,omitempty"` // an upload, unpacked into the working directory
	Inputs       map[string]Input  `json:"inputs,omitempty"`
	Outputs      map[string]Output `json:"outputs,omitempty"`
	Variables    map[string]string `json:"environment_variables,omitempty"`
	Environment  string            `json:"environment,omitempty"` // the image or curated name asked for; "" is what is on the node
	Container    *Container        `json:"container,omitempty"`   // nil without any demand
	Compute      string            `json:"compute,omitempty"`     // a cluster; "" is the workspace's default
	Alternatives []string          `json:"alternatives,omitempty" maxItems:"8" doc:"Other clusters, in order, where it may start when its compute has no room and gets none." example:"[\"gpu-dedicated\"]"`
	Groups       []Group           `json:"groups,omitempty"`
	Priority     int               `json:"priority,omitempty" doc:"1 to 1000, the higher starts first; low is 25, medium 50, high 75. 50 when left out."`
	Tier         Tier              `json:"tier,omitempty"`
	Retries      int               `json:"retries,omitempty" doc:"How often a failed command is tried again."`
	Evictions    int               `json:"max_evictions,omitempty" doc:"How often a provider may take nodes from it before it fails; 1000 when left out."`
	Timeout      Duration          `json:"timeout,omitempty" doc:"Seconds that an attempt's command may take; 7 days, also the most, when left out." example:"3600"`
	Grace        Duration          `json:"grace,omitempty" doc:"Seconds between the stop signal and the kill; 30 when left out." example:"30"`
	Warnings     []string          `json:"warnings,omitempty"` // keys of the file that mean nothing here
}

// Priorities by the names of queue_settings.priority.
const (
	PriorityLow    = 25
	PriorityMedium = 50
	PriorityHigh   = 75
)

// Group is Count like instances of a run. Azure ML's files fill one.
type Group struct {
	Name    string `json:"name,omitempty"`
	Count   int    `json:"count,omitempty"`
	Ask     *Ask   `json:"resources,omitempty"` // nil is a whole node each
	Command string `json:"command,omitempty"`   // "" is the spec's
}

// Ask is the part of a node that one instance wants.
type Ask struct {
	Cores    Amount `json:"cpus" doc:"Cores; parts of one to the thousandth." example:"2"`
	MiB      Amount `json:"memory_mib" doc:"Memory in MiB." example:"4096"`
	GPUs     Amount `json:"gpus,omitempty" doc:"Whole ones, or a share of one: 0.5, 0.25 or another 1/N that nodes offer." example:"1"`
	GPUModel string `json:"gpu_model,omitempty"`
}

// Share returns in how many shares the GPU is cut of which one is asked for; 0
// where whole ones are, or none.
func (a *Ask) Share() int {
	if a.GPUs <= 0 || a.GPUs >= Whole(1) {
		return 0
	}
	return int((Whole(1) + a.GPUs/2) / a.GPUs)
}

// LaunchDiskMiB is the allocation disk of an instance: Nomad's least. Working
// folders do not lie there.
const LaunchDiskMiB = 10

// Need returns what one instance of the group takes of a node, for a cluster
// whose nodes are of the size given.
func (g Group) Need(size Allocatable) Resources {
	if g.Ask == nil {
		need := size.Resources
		need.DiskMiB = Whole(LaunchDiskMiB)
		need.Devices = slices.Clone(need.Devices)
		return need
	}
	need := Resources{MHz: size.MHz.Times(g.Ask.Cores, max(size.Cores, 1)), MiB: g.Ask.MiB, DiskMiB: Whole(LaunchDiskMiB)}
	need.MHz, need.MiB = Whole(need.MHz.Units()), Whole(need.MiB.Units())
	if g.Ask.GPUs > 0 {
		need.Devices = []Devices{{Type: "gpu", Name: g.Ask.GPUModel, Count: g.Ask.GPUs}}
		if parts := g.Ask.Share(); parts > 0 {
			need.Devices[0].Type, need.Devices[0].Count = ShareType("gpu", parts), Whole(1)
		}
	}
	return need
}

// InputMode says how an input reaches the run.
type InputMode string

// The modes of inputs. Until mounts exist ro_mount and direct act as download.
const (
	ModeDownload InputMode = "download"
	ModeROMount  InputMode = "ro_mount"
	ModeDirect   InputMode = "direct"
)

// DataType says what an input or output is.
type DataType string

// The types of data; literals have none.
const (
	TypeURIFile   DataType = "uri_file"
	TypeURIFolder DataType = "uri_folder"
)

// Input is a literal, or data that is brought to the run.
type Input struct {
	Literal *string   `json:"literal,omitempty"`
	Type    DataType  `json:"type,omitempty"`
	Ref     Ref       `json:"path,omitempty"`
	Mode    InputMode `json:"mode,omitempty"`
}

// Output is a file or folder that the run leaves.
type Output struct {
	Type DataType `json:"type,omitempty"`
	Mode string   `json:"mode,omitempty"` // rw_mount, upload or direct; all upload at the end until mounts exist
}

var (
	variableRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	portRE     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)
)

// Complete fills in what the spec leaves out.
func (s *Spec) Complete() {
	if len(s.Groups) == 0 {
		s.Groups = []Group{{}}
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		if g.Name == "" {
			g.Name = "main"
		}
		if g.Count == 0 {
			g.Count = 1
		}
	}
	if s.Priority == 0 {
		s.Priority = PriorityMedium
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	if s.Evictions == 0 {
		s.Evictions = DefaultEvictions
	}
	if s.Grace == 0 {
		s.Grace = DefaultGrace
	}
	for name, out := range s.Outputs {
		if out.Type == "" {
			out.Type = TypeURIFolder
			s.Outputs[name] = out
		}
	}
}

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
	for _, g := range s.Groups {
		if err := g.validate(); err != nil {
			return err
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
	texts := map[string]string{"command": s.Command}
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
		return Errorf(CodeInvalid, "instance count is %d", g.Count).At("resources.instance_count").WithCure("use 1 to %d", MaxInstances)
	}
	if a := g.Ask; a != nil && (a.Cores <= 0 || a.MiB < Whole(16) || a.GPUs < 0) {
		return Errorf(CodeInvalid, "asks for %s cpus, %s MiB and %s gpus", a.Cores, a.MiB, a.GPUs).At("x-muster.resources").
			WithCure("ask for more than 0 cpus and at least 16 MiB of memory")
	}
	if a := g.Ask; a != nil && a.GPUs%Whole(1) != 0 {
		parts := Amount(a.Share())
		if a.GPUs > Whole(1) || parts > MaxShares || max(Whole(1)-a.GPUs*parts, a.GPUs*parts-Whole(1)) > parts {
			return Errorf(CodeInvalid, "asks for %s gpus", a.GPUs).At("x-muster.resources.gpus").
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
			return Errorf(CodeInvalid, "an output cannot be named %q: files of that name are kept of every run", name).At("outputs." + name).WithCure("give it another name")
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
