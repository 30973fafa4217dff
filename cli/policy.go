package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// policiesCommand tells an operator what Muster must be allowed.
func policiesCommand() *cli.Command {
	return &cli.Command{Name: "policies", Usage: "print the least rights in Nomad and Consul that Muster needs, and how to give them", Action: showPolicies}
}

func showPolicies(c *cli.Context) error {
	api, err := connectAlone(c)
	if err != nil {
		return err
	}
	defer api.Close()
	p, err := api.Policies(c.Context)
	if err != nil {
		return err
	}
	return show(c, p, func(t *table) {
		t.line("# Installation %s, --nomad-mode %s", p.Installation, p.Mode)
		if p.Mode == muster.NomadManage {
			t.line("# Muster makes namespaces, and Nomad lets a management token alone do that. For a token of the least")
			t.line("# rights start the server with --nomad-mode existing, and go on here.")
		}
		t.line("\n# 1. The workspaces' namespaces. One more comes with each workspace.")
		for _, namespace := range p.Namespaces {
			t.line("nomad namespace apply %s", namespace)
		}
		t.line("\n# 2. Muster's own token: give its secret to the server as --nomad-token.")
		t.line("nomad acl policy apply muster-%s - <<'EOF'\n%sEOF", p.Installation, p.Nomad)
		t.line("nomad acl token create -name muster-%s -type client -policy muster-%s", p.Installation, p.Installation)
		t.line("\n# 3. The autoscaler's token, where clouds give nodes: NOMAD_TOKEN of muster-autoscaler run.")
		t.line("nomad acl policy apply muster-%s-autoscaler - <<'EOF'\n%sEOF", p.Installation, p.Autoscaler)
		t.line("nomad acl token create -name muster-%[1]s-autoscaler -type client -policy muster-%[1]s-autoscaler", p.Installation)
		t.line("\n# 4. Consul, while its ACLs are on: give the secret as --consul-token.")
		t.line("consul acl policy create -name muster-%s -rules - <<'EOF'\n%sEOF", p.Installation, p.Consul)
		t.line("consul acl token create -description muster-%s -policy-name muster-%s", p.Installation, p.Installation)
		t.line("\n# 5. Agents have a list of servers, and ask Consul, without a token, when none of them answers.")
		t.line("consul acl policy create -name muster-%s-agents -rules - <<'EOF'\n%sEOF", p.Installation, p.ConsulAgents)
		t.line("consul acl token update -accessor-id anonymous -append-policy-name muster-%s-agents", p.Installation)
	})
}
