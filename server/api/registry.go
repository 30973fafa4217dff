package api

import (
	"context"

	"github.com/muster-ml/muster"
)

// InRegistry names a registry of a workspace in the path.
type InRegistry struct {
	InWorkspace
	Host string `path:"host" example:"registry.example:5000"`
}

// registryLogin is how a workspace logs in at a registry.
type registryLogin struct {
	Username string        `json:"username" example:"ci"`
	Password muster.Secret `json:"password" doc:"A password or token. It is kept in Nomad alone, and never told again."`
}

func (a *API) registerRegistries() {
	handle(a, operation{"GET", "/policies", "show-policies", "The least rights in Nomad and Consul that this installation needs", 200, "platform", muster.RoleAdministrator},
		func(ctx context.Context, _ *struct{}) (*body[*muster.Policies], error) { return ok(a.Policies(ctx)) })
	const registries, registry = "/workspaces/{workspace}/registries", "/workspaces/{workspace}/registries/{host}"
	handle(a, operation{"GET", registries, "list-registries", "List the registries at which the workspace logs in for images", 200, "registries", muster.RoleReader},
		func(ctx context.Context, in *InWorkspace) (*body[[]*muster.Registry], error) {
			return list(a.Registries.ListRegistries(ctx, in.Workspace))
		})
	handle(a, operation{"PUT", registry, "put-registry", "Log in at a registry: the workspace's runs then fetch images there", 200, "registries", muster.RoleOwner},
		func(ctx context.Context, in *struct {
			InRegistry
			Body registryLogin
		}) (*body[*muster.Registry], error) {
			return ok(a.putRegistry(ctx, in.InRegistry, in.Body))
		})
	handle(a, operation{"DELETE", registry, "delete-registry", "Log out at a registry", 204, "registries", muster.RoleOwner},
		func(ctx context.Context, in *InRegistry) (*struct{}, error) {
			return nil, a.deleteRegistry(ctx, in)
		})
}

// putRegistry keeps the secret first: a row without it would lead runs astray.
func (a *API) putRegistry(ctx context.Context, in InRegistry, login registryLogin) (*muster.Registry, error) {
	r := &muster.Registry{Host: in.Host, Username: login.Username}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if login.Password.Reveal() == "" {
		return nil, muster.Errorf(muster.CodeInvalid, "the password is empty").At("password")
	}
	if err := a.keepLogin(ctx, in, muster.NewSecretText(login.Username), login.Password); err != nil {
		return nil, err
	}
	return r, a.Registries.PutRegistry(ctx, in.Workspace, r)
}

// deleteRegistry forgets the secret first: while the row is there, whoever asks
// again comes through.
func (a *API) deleteRegistry(ctx context.Context, in *InRegistry) error {
	if err := a.keepLogin(ctx, *in, muster.Secret{}, muster.Secret{}); err != nil {
		return err
	}
	return a.Registries.DeleteRegistry(ctx, in.Workspace, in.Host)
}

// logOut forgets all logins of a workspace that is about to be deleted, and has
// no run that goes on: nobody could forget them afterwards.
func (a *API) logOut(ctx context.Context, workspace string) error {
	live, _, err := a.Runs.ListRuns(ctx, muster.RunFilter{Workspace: workspace, Limit: 1, States: []muster.RunState{muster.RunQueued, muster.RunAdmitted, muster.RunStarting, muster.RunRunning}})
	if err != nil || len(live) > 0 {
		return err // the workspace is not deleted, and that is told
	}
	all, err := a.Registries.ListRegistries(ctx, workspace)
	for _, r := range all {
		if err := a.deleteRegistry(ctx, &InRegistry{InWorkspace{workspace}, r.Host}); err != nil {
			return err
		}
	}
	return err
}

// keepLogin puts a login into the workspace's vault; an empty one is taken out.
func (a *API) keepLogin(ctx context.Context, in InRegistry, username, password muster.Secret) error {
	w, err := a.Workspaces.FindWorkspace(ctx, in.Workspace)
	if err != nil {
		return err
	}
	name, secret := muster.VaultKeys(in.Host)
	return a.Vault.KeepSecrets(ctx, w.Namespace, map[string]muster.Secret{name: username, secret: password})
}

// registryOf returns the registry at which the workspace logs in for an image,
// "" for none.
func (a *API) registryOf(ctx context.Context, workspace, image string) (string, error) {
	all, err := a.Registries.ListRegistries(ctx, workspace)
	for _, r := range all {
		if r.Host == muster.RegistryOf(image) {
			return r.Host, err
		}
	}
	return "", err
}
