package muster

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Container says in what container the instances of a run are executed.
type Container struct {
	Registry string `json:"registry,omitempty" doc:"Filled in by the server: where the workspace's login is used to fetch the image."`
	Image    string `json:"image,omitempty" doc:"Filled in by the server: what this site offers for the environment. Empty: the command runs on the node itself." example:"python:3.12"`
	ShmMiB   Amount `json:"shm_mib,omitempty" doc:"Size of /dev/shm in MiB; the engine's default when left out." example:"8192"`
	Args     string `json:"docker_args,omitempty" doc:"Options of the container engine, those that are allowed." example:"--ipc=host --ulimit memlock=-1"`
}

// EngineOptions are what docker_args may ask of the container engine.
type EngineOptions struct {
	ShmMiB    Amount
	IPC       string            // "host", "private" or "shareable"; "" is the engine's default
	Ulimits   map[string]string // such as memlock: -1, nofile: 1024:4096
	CapAdd    []string
	PidsLimit int64
	Init      bool
	Hosts     []string          // NAME:ADDRESS
	Variables map[string]string // of -e; the run's own win
}

// engineFlags are the options that a run may name; what is not here could reach
// beyond the run's own container.
var engineFlags = map[string]func(o *EngineOptions, value string) bool{
	"shm-size": func(o *EngineOptions, v string) (ok bool) {
		o.ShmMiB, ok = parseSize(v)
		return ok
	},
	"ipc": func(o *EngineOptions, v string) bool {
		o.IPC = v
		return v == "host" || v == "private" || v == "shareable"
	},
	"ulimit": func(o *EngineOptions, v string) bool {
		name, limit, ok := strings.Cut(v, "=")
		o.Ulimits[name] = limit
		return ok && ulimitRE.MatchString(v)
	},
	"cap-add": func(o *EngineOptions, v string) bool {
		o.CapAdd = append(o.CapAdd, strings.ToLower(v))
		return capRE.MatchString(v)
	},
	"pids-limit": func(o *EngineOptions, v string) bool {
		n, err := strconv.ParseInt(v, 10, 64)
		o.PidsLimit = n
		return err == nil && n > 0
	},
	"init": func(o *EngineOptions, v string) bool {
		o.Init = v != "false"
		return v == "" || v == "true" || v == "false"
	},
	"add-host": func(o *EngineOptions, v string) bool {
		o.Hosts = append(o.Hosts, v)
		return hostRE.MatchString(v)
	},
	"env": func(o *EngineOptions, v string) bool {
		name, value, ok := strings.Cut(v, "=")
		o.Variables[name] = value
		return ok && variableRE.MatchString(name) && !agentsRE.MatchString(name)
	},
	// Containers are on the node's network as it is: the instances of a gang
	// find each other there.
	"network": func(_ *EngineOptions, v string) bool { return v == "host" },
	"gpus":    func(_ *EngineOptions, v string) bool { return v == "all" }, // those that the run asked for
}

// engineAliases are other spellings of the options.
var engineAliases = map[string]string{"net": "network", "e": "env"}

// agentsRE is how variables are named by which the agent is told what to do: a
// run has no say in them.
var agentsRE = regexp.MustCompile(`^(MUSTER|NOMAD)_`)

var (
	ulimitRE = regexp.MustCompile(`^[a-z]+=-?[0-9]+(:-?[0-9]+)?$`)
	capRE    = regexp.MustCompile(`^[A-Za-z_]{3,32}$`)
	hostRE   = regexp.MustCompile(`^[A-Za-z0-9._-]+:[0-9A-Fa-f.:]+$`)
	sizeRE   = regexp.MustCompile(`^([0-9]+)([bkmgBKMG]?)[iI]?[bB]?$`)
)

// Options reads Args, and puts ShmMiB in where Args names no size.
func (c *Container) Options() (*EngineOptions, error) {
	o := &EngineOptions{ShmMiB: c.ShmMiB, Ulimits: map[string]string{}, Variables: map[string]string{}}
	for words := strings.Fields(c.Args); len(words) > 0; {
		var option engineOption
		option, words = nextOption(words)
		switch set, known := engineFlags[option.name]; {
		case !known:
			return nil, Errorf(CodeInvalid, "the engine option %q is not allowed", option.text).At("container.docker_args").
				WithCure("allowed are --%s", strings.Join(slices.Sorted(maps.Keys(engineFlags)), ", --"))
		case !set(o, option.value):
			return nil, Errorf(CodeInvalid, "the engine option --%s cannot be %q", option.name, option.value).At("container.docker_args").
				WithCure("write it as docker run takes it")
		}
	}
	return o, nil
}

// AllowedArgs parts engine options into those that a run may name and the
// others: a file that was written for another product may hold both.
func AllowedArgs(args string) (allowed string, others []string) {
	var kept []string
	for words := strings.Fields(args); len(words) > 0; {
		var option engineOption
		option, words = nextOption(words)
		if _, known := engineFlags[option.name]; known {
			kept = append(kept, option.text)
		} else {
			others = append(others, option.text)
		}
	}
	return strings.Join(kept, " "), others
}

// engineOption is an option as it was written, name and value apart.
type engineOption struct{ text, name, value string }

// nextOption takes the first option off words. Its value stands behind '=', or
// is the next word where that is no option.
func nextOption(words []string) (o engineOption, rest []string) {
	o.text, rest = words[0], words[1:]
	if !strings.HasPrefix(o.text, "-") {
		return o, rest
	}
	var hasValue bool
	o.name, o.value, hasValue = strings.Cut(strings.TrimLeft(o.text, "-"), "=")
	if long, ok := engineAliases[o.name]; ok {
		o.name = long
	}
	if !hasValue && o.name != "init" && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		o.value, o.text, rest = rest[0], o.text+" "+rest[0], rest[1:]
	}
	return o, rest
}

// validate refuses a container that no engine would start.
func (c *Container) validate() error {
	if c == nil {
		return nil
	}
	if c.ShmMiB < 0 || c.ShmMiB > Whole(1<<30) {
		return Errorf(CodeInvalid, "shm_size is %s MiB", c.ShmMiB).At("container.shm_mib").WithCure("write it like 2g")
	}
	_, err := c.Options()
	return err
}

// ParseShmSize reads a size as docker's --shm-size takes it, such as 2g, 512m
// or a number of bytes.
func ParseShmSize(s string) (Amount, error) {
	if mib, ok := parseSize(s); ok {
		return mib, nil
	}
	return 0, Errorf(CodeInvalid, "%q is not a size", s).WithCure("write it like 2g or 512m")
}

// parseSize reads a size into whole MiB, rounded up.
func parseSize(s string) (mib Amount, ok bool) {
	m := sizeRE.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 40)
	if err != nil || n == 0 {
		return 0, false
	}
	shift := map[string]int{"": 0, "b": 0, "k": 10, "m": 20, "g": 30}[strings.ToLower(m[2])]
	if n > 1<<(50-shift) {
		return 0, false
	}
	return Whole((n<<shift + 1<<20 - 1) >> 20), true
}
