package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// done says which set-up has ended in which boot. Agents that are started again
// find it in doneFile.
type done struct {
	Boot       string `json:"boot"`
	Generation string `json:"generation"`
	Failure    string `json:"failure,omitempty"` // it failed as often as it may
}

// doneFile is where it stands, in the agent's folder.
const doneFile = "state.json"

// readDone reads the file; where it is missing or broken, nothing is done.
func readDone(dir string) (d done, err error) {
	text, err := os.ReadFile(filepath.Join(dir, doneFile))
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	if json.Unmarshal(text, &d) != nil {
		d = done{}
	}
	return d, nil
}

// forget removes the file.
func forget(dir string) error {
	err := os.Remove(filepath.Join(dir, doneFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// keep writes the file, whole or not at all.
func (d done) keep(dir string) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, doneFile+"-*")
	if err != nil {
		return fmt.Errorf("remember the set-up: %w", err)
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, doneFile))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("remember the set-up: %w", err), os.Remove(file.Name()))
	}
	return nil
}
