package muster

import (
	"context"
	"encoding/hex"
	"regexp"
	"strings"
	"time"
)

// Registry is a registry of images that the runs of a workspace log in at. Its
// secret is kept in Nomad alone, as a variable of the workspace's namespace.
type Registry struct {
	Host      string    `json:"host" example:"registry.example:5000"`
	Username  string    `json:"username" example:"ci"`
	UpdatedAt time.Time `json:"updated_at"`
}

// defaultRegistry is where images lie whose name begins with no host.
const defaultRegistry = "docker.io"

var registryRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)

// Validate refuses a registry that no engine could log in at.
func (r *Registry) Validate() error {
	if len(r.Host) > 255 || !registryRE.MatchString(r.Host) {
		return Errorf(CodeInvalid, "%q is not the host of a registry", r.Host).At("host").WithCure("write HOST or HOST:PORT, as an image's name begins; %s for images without one", defaultRegistry)
	}
	if r.Username == "" || len(r.Username) > 255 || strings.ContainsAny(r.Username, "\x00\n\r") {
		return Errorf(CodeInvalid, "the user name is empty or holds what no name does").At("username")
	}
	return nil
}

// RegistryOf returns the host of the registry that an image's name begins with.
func RegistryOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return defaultRegistry
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		return defaultRegistry
	}
	return host
}

// VaultPath is the path of the Nomad variable that holds a workspace's secrets:
// of those in a namespace the one that every task there may read.
const VaultPath = "nomad/jobs"

// VaultKeys returns under which keys of the variable the login at a host is.
func VaultKeys(host string) (username, password string) {
	key := "registry_" + hex.EncodeToString([]byte(host))
	return key + "_username", key + "_password"
}

// Registries keeps which registries workspaces log in at. A missing one is
// CodeNotFound.
type Registries interface {
	PutRegistry(ctx context.Context, workspace string, r *Registry) error // fills UpdatedAt
	ListRegistries(ctx context.Context, workspace string) ([]*Registry, error)
	DeleteRegistry(ctx context.Context, workspace, host string) error
}

// Vault keeps secrets. What is in it is never read back.
type Vault interface {
	// KeepSecrets puts secrets into a namespace's vault, and takes away those
	// without a value.
	KeepSecrets(ctx context.Context, namespace string, secrets map[string]Secret) error
	// KeepClusterSecrets does so with the secrets of a cluster, whose nodes' set-up
	// gets them; the version that is kept with them becomes this one at least.
	KeepClusterSecrets(ctx context.Context, cluster string, secrets map[string]Secret, version int64) error
}
