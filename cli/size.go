package cli

import (
	"bytes"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// sizeCommand is about the catalogue of node sizes.
func sizeCommand() *cli.Command {
	return &cli.Command{Name: "size", Usage: "the catalogue of what nodes can be", Subcommands: []*cli.Command{
		{Name: "list", Usage: "list the sizes, with their families, devices and prices", Action: listSizes},
	}}
}

func listSizes(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]muster.NodeSize, error) { return api.Sizes(c.Context) }, listing[muster.NodeSize]{
		head: []string{"NAME", "FAMILY", "CORES", "MEMORY", "DEVICES", "PRICE/H", "LOW PRIORITY/H"},
		row: func(s muster.NodeSize) []string {
			return []string{s.Name, s.Family, fmt.Sprint(s.Cores), bytesOf(s.MiB << 20), orDash(devicesOf(s)), price(s, muster.TierDedicated), price(s, muster.TierLowPriority)}
		},
		wide:   []string{"FOR RUNS"},
		more:   func(s muster.NodeSize) []string { return []string{bytesOf((s.MiB - s.Reserve) << 20)} },
		fields: map[string]string{"MEMORY": "memory_mib", "PRICE/H": "price_per_hour.dedicated", "LOW PRIORITY/H": "price_per_hour.low_priority"},
		empty:  "The catalogue is empty.",
	})
}

// devicesOf puts the devices of a size into words.
func devicesOf(s muster.NodeSize) (text string) {
	for _, d := range s.Devices {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%d %s %s", d.Count, d.Type, d.Model)
		if d.MiB > 0 {
			text += " of " + bytesOf(d.MiB<<20)
		}
		if d.Shares > 1 {
			text += fmt.Sprintf(" in %d shares", d.Shares)
		}
	}
	return text
}

// price is what a node costs an hour; "-" where nobody said.
func price(s muster.NodeSize, tier muster.Tier) string {
	if p, known := s.Prices[tier]; known {
		return fmt.Sprintf("%.3f", p)
	}
	return "-"
}

// readSizes reads a site's catalogue and puts it on top of the built-in one:
//
//	sizes:
//	  - {name: dgx, family: dgx, cores: 96, memory_mib: 1048576, reserved_mib: 32768, devices: [{type: gpu, model: A100, count: 8, memory_mib: 40960}]}
func readSizes(file string) (muster.Sizes, error) {
	if file == "" {
		return muster.BuiltinSizes(), nil
	}
	refuse := func(err error) error {
		return muster.Errorf(muster.CodeInvalid, "sizes %s: %v", file, err).At("sizes").
			WithCure("write \"sizes:\" and below it entries as muster size list -o yaml shows them")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, refuse(err)
	}
	var catalogue struct{ Sizes muster.Sizes }
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&catalogue); err != nil {
		return nil, refuse(err)
	}
	all, err := muster.BuiltinSizes().With(catalogue.Sizes)
	if err != nil {
		return nil, refuse(err)
	}
	return all, nil
}
