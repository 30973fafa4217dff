package plugin

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	device "github.com/hashicorp/nomad/plugins/device/proto"
	attr "github.com/hashicorp/nomad/plugins/shared/structs/proto"
)

// simulated are devices that are not there, for machines without any.
type simulated struct {
	all []found
	dir string // of the files that make them unwell; "" for none
	now func() time.Time
}

// newSimulated makes the devices that the configuration asks for.
func newSimulated(c config) *simulated {
	s := &simulated{dir: c.SimulatedDir, now: time.Now}
	numbers := map[string]int{}
	for _, b := range c.Simulated {
		slug := strings.ReplaceAll(b.Model, " ", "-")
		for range int(*b.Count) {
			s.all = append(s.all, found{id: fmt.Sprintf("sim-%s-%d", slug, numbers[slug]), vendor: "muster", kind: b.Type, name: b.Model,
				memoryMiB: int64(*b.Memory), attributes: map[string]*attr.Attribute{"simulated": {Value: &attr.Attribute_BoolVal{BoolVal: true}}}})
			numbers[slug]++
		}
	}
	return s
}

func (s *simulated) devices() []found {
	all := make([]found, len(s.all))
	for i, f := range s.all {
		f.trouble = s.trouble(f.id)
		all[i] = f
	}
	return all
}

// trouble reads the file that makes a device unwell.
func (s *simulated) trouble(id string) string {
	if s.dir == "" {
		return ""
	}
	path := filepath.Join(s.dir, id+".unhealthy")
	why, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil:
		return err.Error()
	case strings.TrimSpace(string(why)) == "":
		return "there is a file " + path
	default:
		return strings.TrimSpace(string(why))
	}
}

// sample makes numbers up: they rise and fall slowly, each device at its own
// time, and are the same for the same device and moment.
func (s *simulated) sample(f found) ([]reading, error) {
	id := fnv.New32a()
	id.Write([]byte(f.id))
	phase := float64(id.Sum32()%360) / 360
	wave := (1 + math.Sin(2*math.Pi*(float64(s.now().UnixMilli()%simulatedCycle.Milliseconds())/float64(simulatedCycle.Milliseconds())+phase))) / 2
	const about = "simulated"
	return []reading{
		{name: "utilization", value: int64(20 + 75*wave), unit: "%", about: about},
		{name: "memory", value: int64(float64(f.memoryMiB) * (0.2 + 0.6*wave)), of: f.memoryMiB, unit: "MiB", about: about},
		{name: "temperature", value: int64(35 + 40*wave), unit: "C", about: about},
		{name: "power", value: int64(60 + 180*wave), of: 250, unit: "W", about: about},
		{name: "ecc_corrected", value: 0, unit: "#", about: about},
		{name: "ecc_uncorrected", value: 0, unit: "#", about: about},
	}, nil
}

// simulatedCycle is how long the numbers take from a peak to the next.
const simulatedCycle = time.Minute

// reserve keeps NVIDIA's container runtime from showing a task the real GPUs of
// the machine.
func (s *simulated) reserve(given []found) *device.ContainerReservation {
	return &device.ContainerReservation{Envs: map[string]string{"MUSTER_VISIBLE_DEVICES": ids(given), "NVIDIA_VISIBLE_DEVICES": "void"}}
}

func (s *simulated) close() {}

// ids returns the devices' ids, as the variables of drivers list them.
func ids(given []found) string {
	var all []string
	for _, f := range given {
		all = append(all, f.id)
	}
	return strings.Join(all, ",")
}
