package plugin

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

// config is the plugin's block in Nomad's configuration. Numbers are floating,
// as HCL has no others.
type config struct {
	Period       string      `codec:"fingerprint_period"`
	SimulatedDir string      `codec:"simulated_dir"`
	NVIDIA       nvidiaBlock `codec:"nvidia"`
	FPGA         fpgaBlock   `codec:"fpga"`
	Simulated    []simBlock  `codec:"simulated"`
	Shares       []rule      `codec:"share"`

	period time.Duration // Period, read
}

// nvidiaBlock is about NVIDIA's GPUs.
type nvidiaBlock struct {
	Enabled *bool    `codec:"enabled"`
	Ignore  []string `codec:"ignore"`
}

// fpgaBlock is about FPGAs.
type fpgaBlock struct {
	Enabled *bool  `codec:"enabled"`
	Sysfs   string `codec:"sysfs"`
}

// simBlock asks for some simulated devices of one model.
type simBlock struct {
	Model  string   `codec:"model"`
	Type   string   `codec:"type"`
	Count  *float64 `codec:"count"`
	Memory *float64 `codec:"memory_mib"`
}

// What holds where the block is silent, and the least and most.
const (
	defaultPeriod = 5 * time.Second
	leastPeriod   = 100 * time.Millisecond
	defaultSysfs  = "/sys"
	defaultMemory = 16 * 1024 // of a simulated device, in MiB
	mostMemory    = 16 << 20
	mostSimulated = 256
	leastParts    = 2
	mostParts     = 64
)

// modelRE is what a simulated model may be called: Nomad writes a device as
// vendor/type/model, and its id names a file.
var modelRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$`)

// schema describes the block to Nomad, which checks it when the client starts.
func schema() *hclspec.Spec {
	word := func(name string) *hclspec.Spec { return hclspec.NewAttr(name, "string", false) }
	number := func(name string) *hclspec.Spec { return hclspec.NewAttr(name, "number", false) }
	enabled := hclspec.NewAttr("enabled", "bool", false)
	return hclspec.NewObject(map[string]*hclspec.Spec{
		"fingerprint_period": word("fingerprint_period"),
		"simulated_dir":      word("simulated_dir"),
		"nvidia": hclspec.NewBlock("nvidia", false, hclspec.NewObject(map[string]*hclspec.Spec{
			"enabled": enabled,
			"ignore":  hclspec.NewAttr("ignore", "list(string)", false),
		})),
		"fpga": hclspec.NewBlock("fpga", false, hclspec.NewObject(map[string]*hclspec.Spec{
			"enabled": enabled,
			"sysfs":   word("sysfs"),
		})),
		"simulated": hclspec.NewBlockList("simulated", hclspec.NewObject(map[string]*hclspec.Spec{
			"model":      hclspec.NewAttr("model", "string", true),
			"type":       word("type"),
			"count":      number("count"),
			"memory_mib": number("memory_mib"),
		})),
		"share": hclspec.NewBlockList("share", hclspec.NewObject(map[string]*hclspec.Spec{
			"match": hclspec.NewAttr("match", "string", true),
			"parts": hclspec.NewAttr("parts", "number", true),
		})),
	})
}

// readConfig reads, completes and checks what Nomad read by the schema.
func readConfig(packed []byte) (config, error) {
	var c config
	if len(packed) > 0 {
		handle := &codec.MsgpackHandle{}
		handle.TypeInfos = codec.NewTypeInfos([]string{"codec"})
		if err := codec.NewDecoderBytes(packed, handle).Decode(&c); err != nil {
			return config{}, fmt.Errorf("read configuration of plugin %q: %w", Name, err)
		}
	}
	if err := c.complete(); err != nil {
		return config{}, fmt.Errorf("plugin %q: %w", Name, err)
	}
	return c, nil
}

// complete puts in what holds where the block is silent, and checks the rest.
func (c *config) complete() error {
	var err error
	if c.period = defaultPeriod; c.Period != "" {
		if c.period, err = time.ParseDuration(c.Period); err != nil || c.period < leastPeriod {
			return fmt.Errorf("fingerprint_period is %q: give a time of at least %s, such as %q", c.Period, leastPeriod, defaultPeriod)
		}
	}
	if c.SimulatedDir != "" && !filepath.IsAbs(c.SimulatedDir) {
		return fmt.Errorf("simulated_dir is %q: give a path that begins with /", c.SimulatedDir)
	}
	if c.FPGA.Sysfs == "" {
		c.FPGA.Sysfs = defaultSysfs
	}
	if !filepath.IsAbs(c.FPGA.Sysfs) {
		return fmt.Errorf("fpga: sysfs is %q: give a path that begins with /", c.FPGA.Sysfs)
	}
	for i := range c.Simulated {
		if err := c.Simulated[i].complete(); err != nil {
			return fmt.Errorf("simulated block %d (model %q): %w", i+1, c.Simulated[i].Model, err)
		}
	}
	if err := agree(c.Simulated); err != nil {
		return err
	}
	return checkShares(c.Shares)
}

// complete does so with one block.
func (b *simBlock) complete() error {
	if b.Type == "" {
		b.Type = kindGPU
	}
	if b.Count == nil {
		b.Count = new(1.0)
	}
	if b.Memory == nil {
		b.Memory = new(float64(defaultMemory))
	}
	switch {
	case !modelRE.MatchString(b.Model):
		return errors.New("give a model of up to 64 letters, digits, blanks, dots, dashes and underscores, such as \"K80\"")
	case b.Type != kindGPU && b.Type != kindFPGA:
		return fmt.Errorf("type %q is not known: give %q or %q", b.Type, kindGPU, kindFPGA)
	case !whole(*b.Count, 1, mostSimulated):
		return fmt.Errorf("count is %v: give 1 to %d, or leave the block out", *b.Count, mostSimulated)
	case !whole(*b.Memory, 1, mostMemory):
		return fmt.Errorf("memory_mib is %v: give whole MiB, 1 to %d", *b.Memory, mostMemory)
	}
	return nil
}

// agree checks that a model has one size: to Nomad devices of one type and model
// are all alike.
func agree(blocks []simBlock) error {
	for i, b := range blocks {
		for j, before := range blocks[:i] {
			if before.Type == b.Type && strings.EqualFold(before.Model, b.Model) && *before.Memory != *b.Memory {
				return fmt.Errorf("simulated blocks %d and %d give model %q %v and %v MiB: devices of one model are alike, so call one of them otherwise",
					j+1, i+1, b.Model, *before.Memory, *b.Memory)
			}
		}
	}
	return nil
}

// checkShares checks the rules by which devices are cut.
func checkShares(rules []rule) error {
	for i, r := range rules {
		place := fmt.Sprintf("share block %d (match %q)", i+1, r.Match)
		if strings.TrimSpace(r.Match) == "" {
			return fmt.Errorf("%s: give a model, a device's id, or %q for all", place, everything)
		}
		if !whole(r.Parts, leastParts, mostParts) {
			return fmt.Errorf("%s: parts is %v: give %d to %d, or leave the block out for whole devices", place, r.Parts, leastParts, mostParts)
		}
		if j := slices.IndexFunc(rules[:i], func(b rule) bool { return strings.EqualFold(b.Match, r.Match) }); j >= 0 {
			return fmt.Errorf("%s: block %d matches the same: leave one of them out", place, j+1)
		}
	}
	return nil
}

// whole reports whether a number is an integer between two.
func whole(n, least, most float64) bool { return n == float64(int64(n)) && n >= least && n <= most }

// on reads a switch that is on unless it is off.
func on(b *bool) bool { return b == nil || *b }
