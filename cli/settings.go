package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
)

// profile is what a person's file holds. What this program does not know it
// leaves as it is.
type profile struct {
	Current  string              `yaml:"current,omitempty"` // the context that is used unless another is named
	Contexts map[string]*account `yaml:"contexts,omitempty"`
	Other    map[string]any      `yaml:",inline"`
}

// account is a server that a person works with, and how he proves himself there.
type account struct {
	Addr      string         `yaml:"addr"`
	Token     string         `yaml:"token,omitempty"`
	OIDC      *session       `yaml:"oidc,omitempty"` // instead of a token
	Workspace string         `yaml:"workspace,omitempty"`
	CACert    string         `yaml:"ca_cert,omitempty"` // file with the authority of the server's certificate
	Other     map[string]any `yaml:",inline"`
}

// session is a login at an OpenID issuer.
type session struct {
	Issuer   string    `yaml:"issuer"`
	ClientID string    `yaml:"client_id"`
	Scopes   []string  `yaml:"scopes,omitempty"`
	Refresh  string    `yaml:"refresh_token,omitempty"`
	Token    string    `yaml:"id_token"`
	Expires  time.Time `yaml:"expires"`
}

// readSettings reads the file; one that is not there is empty.
func readSettings() (*profile, error) {
	file := settingsFile()
	if file == "" {
		return &profile{}, nil // nobody can have written any
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	s := &profile{}
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(s); err != nil && !errors.Is(err, io.EOF) {
		return nil, muster.Errorf(muster.CodeInvalid, "settings %s: %v", file, err).WithCure("mend the file, or move it away and log in again")
	}
	for name, a := range s.Contexts {
		if a == nil || a.Addr == "" {
			return nil, muster.Errorf(muster.CodeInvalid, "settings %s: context %s has no addr", file, name).WithCure("mend the file, or move it away and log in again")
		}
	}
	return s, nil
}

// changeSettings reads the settings, changes them and writes them back, one
// process at a time. The file is whole at every moment, and its owner's alone.
func changeSettings(change func(*profile) error) error {
	file := settingsFile()
	if file == "" {
		return muster.Errorf(muster.CodeRefused, "there is no folder for settings").WithCure("set HOME or XDG_CONFIG_HOME")
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the settings: %w", err)
	}
	s, err := readSettings()
	if err != nil {
		return err
	}
	if err := change(s); err != nil {
		return err
	}
	text, err := yaml.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	return replaceFile(file, text)
}

// replaceFile puts a new file in the place of an old one.
func replaceFile(file string, text []byte) (err error) {
	part, err := os.CreateTemp(filepath.Dir(file), ".config-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	defer os.Remove(part.Name()) // what is renamed is not there any more
	_, err = part.Write(text)
	if err == nil {
		err = part.Sync()
	}
	if e := part.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	return nil
}
