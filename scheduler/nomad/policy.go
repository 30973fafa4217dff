package nomad

import (
	"fmt"

	"github.com/muster-ml/muster"
)

// Policy is the policy of a token that does all but make namespaces. What others
// run is read to know what is free on the nodes.
func Policy(installation string) string {
	return fmt.Sprintf(`# What other jobs use of the nodes is seen, to know what is free.
namespace "*" {
  capabilities = ["list-jobs", "read-job"]
}

# The workspaces' own namespaces, and that of the node agents.
namespace "ws-%s-*" {
  capabilities = ["list-jobs", "read-job", "submit-job", "dispatch-job"]

  # logins at registries of images
  variables {
    path "%s" {
      capabilities = ["list", "read", "write", "destroy"]
    }

    # secrets of clusters, for the set-up of their nodes
    path "%s/*" {
      capabilities = ["list", "read", "write", "destroy"]
    }
  }
}

# Nodes of elastic clusters are made ineligible before they leave, and purged.
node {
  policy = "write"
}

# The node pool of an elastic cluster goes with it.
node_pool "muster-*" {
  capabilities = ["delete"]
}
`, installation, muster.VaultPath, muster.VaultPath)
}

// AutoscalerPolicy is the policy of the Nomad Autoscaler's token. Without the right
// to read all jobs Nomad hides what runs on a node, and the target of a cloud takes
// one in use for an empty one.
const AutoscalerPolicy = `# What runs on the nodes is seen: without that a node in use looks empty.
namespace "*" {
  capabilities = ["list-jobs", "read-job"]
}

# Nodes are drained before they go.
node {
  policy = "write"
}
`
