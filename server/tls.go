package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/muster-ml/muster"
)

// TLS says how the server proves who it is; without a Cert it speaks plain HTTP.
type TLS struct {
	Cert string // files in PEM: the certificate with those between it and the authority
	Key  string
	CA   string // of the authority, handed to agents; "" is one that every node knows
}

// certificate is the server's certificate as its files hold it now: one that was
// renewed there is taken with the next connection.
type certificate struct {
	TLS
	log *slog.Logger

	mu   sync.Mutex
	kept *tls.Certificate
	at   time.Time // the file's, when it was read
}

// newCertificate reads the certificate, and the authority's for agents.
func newCertificate(t TLS, log *slog.Logger) (c *certificate, authority string, err error) {
	c = &certificate{TLS: t, log: log}
	if err := c.read(); err != nil {
		return nil, "", muster.Errorf(muster.CodeInvalid, "the server's certificate cannot be used: %v", err).At("tls-cert").
			WithCure("--tls-cert and --tls-key name files in PEM that belong together")
	}
	if t.CA == "" {
		return c, "", nil
	}
	text, err := os.ReadFile(t.CA)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		err = fmt.Errorf("%s holds no certificate in PEM", t.CA)
	}
	if err != nil {
		return nil, "", muster.Errorf(muster.CodeInvalid, "the authority's certificate cannot be used: %v", err).At("tls-ca")
	}
	return c, string(text), nil
}

// read reads the files where they are newer than what is kept.
func (c *certificate) read() error {
	info, err := os.Stat(c.Cert)
	if err != nil {
		return err
	}
	if c.kept != nil && info.ModTime().Equal(c.at) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return err
	}
	c.kept, c.at = &pair, info.ModTime()
	return nil
}

// get returns the certificate for a connection. Files that make no sense, as
// while they are being replaced, leave the one that is kept.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.read(); err != nil {
		c.log.Warn("read the server's certificate anew", "error", err)
	}
	return c.kept, nil
}

// config is what connections are made by.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}
