package muster

import (
	"fmt"
	"regexp"
	"time"
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
	Checkpoint   string            `json:"checkpoint_command,omitempty" doc:"Executed before the stop signal when a node is taken from the run, within the grace time, so that it saves what it has." example:"kill -USR1 $(cat pid); sleep 5"`
	Grace        Duration          `json:"grace,omitempty" doc:"Seconds between the stop signal and the kill; 30 when left out." example:"30"`
	Warnings     []string          `json:"warnings,omitempty"` // keys of the file that mean nothing here
}

// Priorities by the names of queue_settings.priority.
const (
	PriorityLow    = 25
	PriorityMedium = 50
	PriorityHigh   = 75
)

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
