package cli

import (
	"bytes"
	"os"

	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
)

// readSite reads the table of what a site offers for environments:
//
//	environments:
//	  "library/python:*": node
//
// "default" is the table of muster dev, and "" one that offers nothing.
func readSite(file string) (muster.Site, error) {
	switch file {
	case "":
		return muster.Site{}, nil
	case "default":
		return muster.DefaultSite(), nil
	}
	refuse := func(err error) error {
		return muster.Errorf(muster.CodeInvalid, "site table %s: %v", file, err).At("site").
			WithCure("write \"environments:\" and below it lines such as  \"library/python:*\": node")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, refuse(err)
	}
	var table struct{ Environments muster.Site }
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&table); err != nil {
		return nil, refuse(err)
	}
	if err := table.Environments.Validate(); err != nil {
		return nil, refuse(err)
	}
	return table.Environments, nil
}
