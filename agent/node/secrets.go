package node

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
)

// secretsPeriod is how often the file is looked at while they are waited for.
const secretsPeriod = 100 * time.Millisecond

// secrets returns the secrets that the set-up names, or why it cannot be
// executed without them. It waits until they are as new as the orders want. A
// node whose secrets do not arrive is unusable until they do.
func (a *agent) secrets(ctx context.Context, o *muster.NodeOrders) (vars map[string]string, failure string) {
	names := o.Readying.Setup.Secrets
	if len(names) == 0 {
		return nil, ""
	}
	all, version, err := a.readSecrets()
	for began := time.Now(); version < o.SecretsVersion && ctx.Err() == nil; all, version, err = a.readSecrets() {
		if time.Since(began) < a.config.secrets {
			a.tell(o, muster.HealthPreparing, "waits for its secrets")
		} else {
			reason := "its secrets did not arrive"
			if err != nil {
				reason += ": " + err.Error()
			}
			a.tell(o, muster.HealthUnusable, reason)
		}
		ship.Pause(ctx, secretsPeriod)
	}
	vars = map[string]string{}
	for _, name := range names {
		value, ok := all[name]
		if !ok || name == muster.SecretsVersionVar {
			return nil, fmt.Sprintf("secret %s is not set: muster cluster secret set %s %s sets it", name, a.config.cluster, name)
		}
		vars[name] = value
	}
	return vars, ""
}

// readSecrets reads the file, and the version of what is in it. The error never
// holds a part of it.
func (a *agent) readSecrets() (all map[string]string, version int64, err error) {
	text, err := os.ReadFile(filepath.Join(a.config.Secrets, muster.SecretsFile))
	if err != nil {
		return nil, 0, err
	}
	if json.Unmarshal(text, &all) != nil {
		return nil, 0, fmt.Errorf("%s is not an object of strings", muster.SecretsFile)
	}
	version, err = strconv.ParseInt(all[muster.SecretsVersionVar], 10, 64)
	if err != nil {
		return all, 0, fmt.Errorf("%s has no %s", muster.SecretsFile, muster.SecretsVersionVar)
	}
	return all, version, nil
}
