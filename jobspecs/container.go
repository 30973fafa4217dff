package jobspecs

import (
	"fmt"
	"maps"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
)

// Where a container's agent finds itself and makes the run's folder: the
// task's own folder, which Nomad binds into the container and removes with the
// allocation.
const containerDir = "/local"

// pullLimit is how long fetching an image may take; Nomad would give up after
// five minutes.
const pullLimit = "2h"

// contain makes the task one of the container engine. The agent is the
// container's entry point; it is static and needs nothing of the image.
func (s *Shape) contain(t *api.Task) {
	// What a run may ask for was checked when it was made.
	options, err := s.Container.Options()
	if err != nil {
		options = &muster.EngineOptions{ShmMiB: s.Container.ShmMiB}
	}
	t.Driver = "docker"
	t.User = s.Agent.Inside
	t.Config = map[string]any{
		"image":              s.Container.Image,
		"image_pull_timeout": pullLimit,
		"entrypoint":         []string{containerDir + "/muster-agent"},
		"args":               []string{"run"},
		"network_mode":       "host", // the instances of a gang find each other there
	}
	maps.Copy(t.Env, options.Variables) // none of them is one of the agent's: Options refuses those
	t.Env[muster.AgentDirVar] = containerDir
	t.Env[muster.AgentImageVar] = s.Container.Image
	t.Env[muster.AgentUserVar] = ""
	engineConfig(t.Config, options)
	if s.Container.Registry != "" {
		logIn(t, s.Container.Registry)
	}
}

// The variables that bring the login at a registry from Nomad's variable to its
// docker driver.
const (
	usernameVar = "MUSTER_REGISTRY_USERNAME"
	passwordVar = "MUSTER_REGISTRY_PASSWORD"
)

// logIn makes the driver log in at a registry, by what the namespace's variable
// holds: no secret stands in the job. Without it the registry refuses, and that
// is told; a template that waited for it would hold the task for ever.
func logIn(t *api.Task, host string) {
	username, password := muster.VaultKeys(host)
	t.Config["auth"] = []map[string]string{{"username": "${" + usernameVar + "}", "password": "${" + passwordVar + "}", "server_address": host}}
	text := fmt.Sprintf(`{{ if nomadVarExists %q }}{{ with nomadVar %q }}
%s={{ .%s | toJSON }}
%s={{ .%s | toJSON }}
{{ end }}{{ end }}`, muster.VaultPath, muster.VaultPath, usernameVar, username, passwordVar, password)
	t.Templates = append(t.Templates, &api.Template{EmbeddedTmpl: &text, DestPath: new("secrets/registry.env"), Envvars: new(true),
		ChangeMode: new("noop"), Once: new(true), Perms: new("0600")})
}

// engineConfig writes what a run asks of the engine in the words of Nomad's
// docker driver.
func engineConfig(config map[string]any, o *muster.EngineOptions) {
	if o.ShmMiB > 0 {
		config["shm_size"] = o.ShmMiB.Units() << 20
	}
	if o.IPC != "" {
		config["ipc_mode"] = o.IPC
	}
	if len(o.Ulimits) > 0 {
		config["ulimit"] = []map[string]string{o.Ulimits}
	}
	if len(o.CapAdd) > 0 {
		config["cap_add"] = o.CapAdd
	}
	if o.PidsLimit > 0 {
		config["pids_limit"] = o.PidsLimit
	}
	if o.Init {
		config["init"] = true
	}
	if len(o.Hosts) > 0 {
		config["extra_hosts"] = o.Hosts
	}
}
