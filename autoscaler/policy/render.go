package policy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
)

// quote writes a string as HCL does.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always can be
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strings.TrimSpace(b.String()))
}

// pluginKeys are, by provider, the keys of a cluster's group that are for the
// target as a whole, such as a region. The others are for the one group of nodes.
var pluginKeys = map[muster.Provider][]string{
	muster.ProviderAWS:   {"aws_region", "retry_attempts"},
	muster.ProviderAzure: {"subscription_id", "tenant_id", "client_id"},
	muster.ProviderGCE:   {"retry_attempts"},
}

// drainDeadline is how long a provider other than ours lets work on a node go on
// before it takes it. There is none: the server has looked.
const drainDeadline = "1m"

// keyRE is a key that can stand in a policy.
var keyRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// block is a target of the agent's configuration.
type block struct {
	Name   string
	Driver string
	Args   []string
	Config map[string]string
}

// targetOf returns the target that serves a cluster, and what the cluster's
// policy says to it. Clusters of one provider with the same settings for all of it
// share one.
func targetOf(c *muster.Cluster, s autoscaler.Settings) (block, map[string]string, error) {
	if c.Provider == muster.ProviderLocal {
		return block{autoscaler.Target, autoscaler.Driver, []string{"target"}, withoutNomad(s.Map())}, map[string]string{"cluster": c.Name}, nil
	}
	b := block{Driver: string(c.Provider), Config: map[string]string{}}
	policy := map[string]string{"node_pool": c.NodePool, "node_drain_deadline": drainDeadline, "node_purge": "true", "node_selector_strategy": "empty_ignore_system",
		"node_filter_ignore_drain": "true", "node_filter_ignore_init": "true", "node_filter_ignore_ineligible": "true"} // closed nodes are those that may go
	for key, value := range c.Group {
		if !keyRE.MatchString(key) {
			return b, nil, muster.Errorf(muster.CodeInvalid, "cluster %s: %q is no key of provider %s", c.Name, key, c.Provider)
		}
		// All who may read a cluster read its group. The targets find credentials where
		// their SDKs look: in the environment of muster-autoscaler, which the agent
		// inherits, and in files.
		if muster.HoldsSecret(key) {
			return b, nil, muster.Errorf(muster.CodeInvalid, "cluster %s: %s of its group holds a secret, and is not used", c.Name, key).
				WithCure("leave it out of the group, and give it to muster-autoscaler in its environment")
		}
		if slices.Contains(pluginKeys[c.Provider], key) {
			b.Config[key] = value
		} else {
			policy[key] = value
		}
	}
	b.Name = b.Driver
	if len(b.Config) > 0 {
		b.Name += "-" + hashOf(b.Config)
	}
	return b, policy, nil
}

// withoutNomad keeps the agent from handing Nomad's token to a plugin of ours.
func withoutNomad(config map[string]string) map[string]string {
	config["nomad_config_inherit"] = "false"
	return config
}

// hashOf names a map in few letters.
func hashOf(m map[string]string) string {
	b, _ := json.Marshal(m) // in the order of the keys
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:8]
}

// setting is one line of a block.
type setting struct{ Key, Value string }

// settings lists a map's lines by key, aligned.
func settings(m map[string]string) []setting {
	width := 0
	for key := range m {
		width = max(width, len(key))
	}
	var lines []setting
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, setting{fmt.Sprintf("%-*s", width, key), quote(m[key])})
	}
	return lines
}

var functions = template.FuncMap{"quote": quote, "settings": settings}

var policyText = template.Must(template.New("").Funcs(functions).Parse(`scaling {{quote .Name}} {
  enabled = true
  type    = "cluster"
  min     = 0
  max     = {{.Max}}

  policy {
    cooldown             = "1s"
    cooldown_on_scale_up = "1s"
    evaluation_interval  = {{quote .Interval}}
    on_check_error       = "fail"

    check "wanted" {
      source = {{quote .Source}}
      query  = {{quote .Query}}

      strategy "pass-through" {}
    }

    target {{quote .Target}} {
{{- range settings .Config}}
      {{.Key}} = {{.Value}}
{{- end}}
    }
  }
}
`))

// scalingPolicy is the file of a cluster's policy. How many nodes there are at
// least and at most is the server's matter: where a maximum was lowered its number
// still counts the nodes that are at work, and a cap here would take them.
type scalingPolicy struct {
	File string
	Text string
}

// policyOf renders the policy of a cluster. Its name carries a hash of all that
// it says: the agent ignores a change under a name that it knows.
func policyOf(c *muster.Cluster, target string, config map[string]string, interval time.Duration) (scalingPolicy, error) {
	values := struct {
		Name, Interval, Source, Query, Target string
		Max                                   int
		Config                                map[string]string
	}{"", interval.String(), autoscaler.APM, c.Name, target, muster.MaxNodes, config}
	var b strings.Builder
	if err := policyText.Execute(&b, values); err != nil {
		return scalingPolicy{}, fmt.Errorf("write policy of cluster %s: %w", c.Name, err)
	}
	sum := sha256.Sum256([]byte(b.String()))
	values.Name = c.Name + "-" + hex.EncodeToString(sum[:])[:8]
	b.Reset()
	if err := policyText.Execute(&b, values); err != nil {
		return scalingPolicy{}, fmt.Errorf("write policy of cluster %s: %w", c.Name, err)
	}
	return scalingPolicy{File: values.Name + ".hcl", Text: b.String()}, nil
}

var agentText = template.Must(template.New("").Funcs(functions).Parse(`log_level  = "info"
plugin_dir = {{quote .PluginDir}}

http {
  bind_address = "127.0.0.1"
  bind_port    = {{.Port}}
}

telemetry {
  prometheus_metrics = true
  disable_hostname   = true
}

nomad {
{{- range settings .Nomad}}
  {{.Key}} = {{.Value}}
{{- end}}
}

# Policies of Nomad's own jobs are somebody else's.
policy {
  dir = {{quote .PolicyDir}}

  source "nomad" {
    enabled = false
  }
}

policy_eval {
  workers = {
    cluster    = 100
    horizontal = 1
  }
}
{{- range .Blocks}}

{{.Kind}} {{quote .Name}} {
  driver = {{quote .Driver}}
{{- if .Args}}
  args   = [{{range $i, $arg := .Args}}{{if $i}}, {{end}}{{quote $arg}}{{end}}]
{{- end}}

  config = {
{{- range settings .Config}}
    {{.Key}} = {{.Value}}
{{- end}}
  }
}
{{- end}}
`))

// typed is a plugin's block with its kind.
type typed struct {
	Kind string
	block
}

// agentConfig is the agent's configuration.
type agentConfig struct {
	PluginDir string
	PolicyDir string
	Port      int
	Nomad     map[string]string
	Blocks    []typed
}

// render writes the agent's configuration with its targets.
func (c agentConfig) render(settings autoscaler.Settings, targets []block) (string, error) {
	apm := block{autoscaler.APM, autoscaler.Driver, []string{"apm"}, withoutNomad(settings.Map())}
	c.Blocks = []typed{{"apm", apm}}
	slices.SortFunc(targets, func(a, b block) int { return cmp.Compare(a.Name, b.Name) })
	for _, t := range targets {
		c.Blocks = append(c.Blocks, typed{"target", t})
	}
	var b strings.Builder
	if err := agentText.Execute(&b, c); err != nil {
		return "", fmt.Errorf("write configuration of the autoscaler: %w", err)
	}
	return b.String(), nil
}
