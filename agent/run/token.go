package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// tokenPeriod is how often the agent looks whether Nomad has renewed the
// workload identity.
const tokenPeriod = time.Second

// writeToken puts the workload identity where the run-as user alone can read
// it. One that reads at that moment gets the old one or the new one, whole.
func (f *folder) writeToken(token string) error {
	file, err := os.CreateTemp(f.host, partToken+"-*")
	if err != nil {
		return fmt.Errorf("keep token: %w", err)
	}
	_, err = file.WriteString(token)
	if err = errors.Join(err, file.Close()); err == nil {
		err = f.own(file.Name(), true, 0o400)
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(f.host, partToken))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep token: %w", err), os.Remove(file.Name()))
	}
	return nil
}

// renewToken writes the identity anew whenever Nomad has renewed it, until the
// command's end: the variable that the command was started with is of no use
// after an hour.
func (a *agent) renewToken(written string, ended <-chan struct{}) {
	tick := time.NewTicker(tokenPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		token, err := a.config.Token()
		if err == nil && token != "" && token != written { // empty is one that is just being written
			if err = a.folder.writeToken(token); err == nil {
				written = token
			}
		}
		if err != nil {
			a.log.Warn("renew the command's token", "error", err)
		}
	}
}
