package jobfile

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
)

// readResources reads how many instances the job has.
func (j *job) readResources(n *node, field string) error {
	const nothing = "means nothing here and is passed over"
	return j.mapping(n, field, readers{
		"instance_count":     j.integer(&j.Request.Spec.Groups[0].Count, 1, muster.MaxInstances),
		"instance_type":      j.means("is passed over: the cluster decides on its nodes"),
		"max_instance_count": j.means(nothing), "locations": j.means(nothing), "properties": j.means(nothing),
		"shm_size": j.readShm, "docker_args": j.readDockerArgs,
	})
}

// container is what the job says of its container.
func (j *job) container() *muster.Container {
	s := &j.Request.Spec
	if s.Container == nil {
		s.Container = &muster.Container{}
	}
	return s.Container
}

// readShm reads the size of /dev/shm.
func (j *job) readShm(n *node, field string) (err error) {
	if n.null() {
		return nil
	}
	text := ""
	if err := j.text(&text)(n, field); err != nil {
		return err
	}
	j.container().ShmMiB, err = muster.ParseShmSize(text)
	return j.rePlace(n, field, err)
}

// readDockerArgs reads the options of the container engine, in one text or a
// list.
func (j *job) readDockerArgs(n *node, field string) error {
	if n.null() {
		return nil
	}
	c := j.container()
	if n.Kind == yaml.SequenceNode {
		var words []string
		if err := (*yaml.Node)(n).Decode(&words); err != nil {
			return j.errorf(n, field, "%s is a text or a list of texts", field)
		}
		c.Args = strings.Join(words, " ")
	} else if err := j.text(&c.Args)(n, field); err != nil {
		return err
	}
	allowed, others := muster.AllowedArgs(c.Args)
	for _, option := range others {
		j.warn(field + ": " + option + " is not allowed here, and passed over")
	}
	c.Args = allowed
	_, err := c.Options()
	return j.rePlace(n, field, err)
}

// readLimits reads the time limit.
func (j *job) readLimits(n *node, field string) error {
	most := int(muster.DefaultTimeout / muster.Seconds(1))
	return j.mapping(n, field, readers{"timeout": func(n *node, field string) error {
		seconds := 0
		if err := j.integer(&seconds, 1, most)(n, field); err != nil {
			return err
		}
		j.Request.Spec.Timeout = muster.Seconds(float64(seconds))
		return nil
	}})
}

// readQueue reads tier and priority.
func (j *job) readQueue(n *node, field string) error {
	s := &j.Request.Spec
	return j.mapping(n, field, readers{
		"job_tier": choice(j, &s.Tier, map[string]muster.Tier{"null": "", "spot": muster.TierLowPriority, "basic": muster.TierDedicated,
			"standard": muster.TierDedicated, "premium": muster.TierDedicated}),
		"priority": choice(j, &s.Priority, map[string]int{"low": muster.PriorityLow, "medium": muster.PriorityMedium, "high": muster.PriorityHigh}),
	})
}

// readMuster reads what Azure ML's language has no word for.
func (j *job) readMuster(n *node, field string) error {
	s := &j.Request.Spec
	return j.mapping(n, field, readers{
		"resources":          j.readAsk,
		"alternatives":       j.texts(&s.Alternatives),
		"checkpoint_command": j.text(&s.Checkpoint),
		"grace":              j.seconds(&s.Grace),
		"max_evictions":      j.integer(&s.Evictions, 1, muster.DefaultEvictions),
		"retries":            j.integer(&s.Retries, 0, muster.MaxRetries),
		"priority":           j.integer(&s.Priority, 1, muster.MaxPriority),
	})
}

// What an instance takes of a node when x-muster.resources leaves it out.
const (
	defaultCores = 1
	defaultMiB   = 1024
)

// readAsk reads the part of a node that an instance wants.
func (j *job) readAsk(n *node, field string) error {
	if n.null() {
		return nil
	}
	ask := &muster.Ask{Cores: muster.Whole(defaultCores), MiB: muster.Whole(defaultMiB)}
	j.Request.Spec.Groups[0].Ask = ask
	return j.mapping(n, field, readers{
		"cpus": func(n *node, field string) error {
			cores, err := j.number(n, field, 0.001, 1e6)
			ask.Cores = muster.Amount(math.Round(cores * 1000))
			return err
		},
		"memory": func(n *node, field string) (err error) {
			ask.MiB, err = j.memory(n, field)
			return err
		},
		"gpus": func(n *node, field string) error {
			gpus, err := j.number(n, field, 0, 1024)
			ask.GPUs = muster.Amount(math.Round(gpus * 1000))
			return err
		},
		"gpu_model": j.text(&ask.GPUModel),
	})
}

var memoryRE = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)$`)

// memoryUnits are the units of memory in MiB. A number alone counts GiB.
var memoryUnits = map[string]float64{
	"": 1024, "ki": 1.0 / 1024, "kib": 1.0 / 1024, "mi": 1, "mib": 1, "gi": 1024, "gib": 1024, "ti": 1 << 20, "tib": 1 << 20,
	"k": 1e3 / (1 << 20), "kb": 1e3 / (1 << 20), "m": 1e6 / (1 << 20), "mb": 1e6 / (1 << 20), "g": 1e9 / (1 << 20), "gb": 1e9 / (1 << 20),
	"t": 1e12 / (1 << 20), "tb": 1e12 / (1 << 20),
}

// memory reads an amount of memory in whole MiB, rounded up.
func (j *job) memory(n *node, field string) (muster.Amount, error) {
	match := memoryRE.FindStringSubmatch(strings.TrimSpace(n.Value))
	if n.Kind == yaml.ScalarNode && match != nil {
		v, err := strconv.ParseFloat(match[1], 64)
		unit, ok := memoryUnits[strings.ToLower(match[2])]
		if mib := math.Ceil(v * unit); err == nil && ok && mib >= 16 && mib <= 1<<30 {
			return muster.Whole(int64(mib)), nil
		}
	}
	return 0, j.errorf(n, field, "%s is an amount of memory from 16Mi to 1024Ti, and this is %s", field, quote(n)).
		WithCure("write it like 512Mi, 2Gi or 2GB; a number alone counts GiB")
}
