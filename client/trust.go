package client

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"

	"github.com/muster-ml/muster"
)

// Trust makes the client believe an authority, in PEM, beside those that this
// machine knows.
func (c *Client) Trust(pem []byte) error { return trust(c.http, pem) }

// Trust makes the agent believe an authority, in PEM, beside those that its node
// knows.
func (a *Agent) Trust(pem []byte) error { return trust(a.http, pem) }

func trust(web *http.Client, pem []byte) error {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a node without any still has this one
	}
	if !pool.AppendCertsFromPEM(pem) {
		return muster.Errorf(muster.CodeInvalid, "the authority's certificate is none in PEM").At("ca-cert")
	}
	web.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return nil
}
