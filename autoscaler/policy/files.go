package policy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/muster-ml/muster/autoscaler"
)

// prepare makes the folders, links this program as the plugins' and chooses a
// port.
func (a *agent) prepare() error {
	for _, dir := range []string{a.dir, a.policyDir(), filepath.Dir(a.plugin())} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder of the autoscaler: %w", err)
		}
	}
	if err := os.RemoveAll(a.plugin()); err != nil {
		return fmt.Errorf("link plugin: %w", err)
	}
	if err := os.Symlink(a.config.Self, a.plugin()); err != nil {
		return fmt.Errorf("link plugin: %w", err)
	}
	var err error
	a.port, err = a.config.ports.choose(string(a.provider))
	return err
}

func (a *agent) policyDir() string  { return filepath.Join(a.dir, "policies") }
func (a *agent) configFile() string { return filepath.Join(a.dir, "agent.hcl") }

// plugin is the name under which the agent starts this program.
func (a *agent) plugin() string { return filepath.Join(a.dir, "plugins", autoscaler.Driver) }

// write brings the files to what is wanted, and reports whether any changed.
func (a *agent) write(w wants) (changed bool, err error) {
	text, err := agentConfig{PluginDir: filepath.Dir(a.plugin()), PolicyDir: a.policyDir(), Port: a.port, Nomad: a.config.Nomad}.render(a.config.Settings, w.targets)
	if err != nil {
		return false, err
	}
	files := map[string]string{a.configFile(): text}
	for name, text := range w.policies {
		files[filepath.Join(a.policyDir(), name)] = text
	}
	there, err := filepath.Glob(filepath.Join(escapeGlob(a.policyDir()), "*"))
	if err != nil {
		return false, fmt.Errorf("list policies: %w", err)
	}
	for _, path := range there {
		if _, ok := files[path]; !ok {
			if err := os.Remove(path); err != nil {
				return changed, fmt.Errorf("remove policy: %w", err)
			}
			changed = true
		}
	}
	for path, text := range maps.All(files) {
		if old, err := os.ReadFile(path); err == nil && string(old) == text {
			continue
		}
		if err := writeFile(path, text); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// writeFile puts a file in place that only its owner may read.
func writeFile(path, text string) error {
	partial := path + ".partial"
	if err := os.WriteFile(partial, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// escapeGlob quotes what filepath.Glob would not take literally.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
