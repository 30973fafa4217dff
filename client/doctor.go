package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/muster-ml/muster"
)

// Glance is what a server says on one of the pages that need no token.
type Glance struct {
	Status int
	Text   string    // the beginning
	At     time.Time // by the server's clock; zero where it did not say
}

// Glance reads a page of the server itself, such as "/readyz".
func (c *Client) Glance(ctx context.Context, page string) (*Glance, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.addr+page, nil)
	if err != nil || req.URL.Host == "" {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is not the URL of a server", c.addr).WithCure("write it like http://127.0.0.1:4750")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<20)) // what broke off is shown as it is
	at, _ := http.ParseTime(resp.Header.Get("Date"))
	return &Glance{Status: resp.StatusCode, Text: string(text), At: at}, nil
}

// ServerVersion returns the release of the server, as its description says.
func (c *Client) ServerVersion(ctx context.Context) (string, error) {
	g, err := c.Glance(ctx, "/api/v1/openapi.json")
	if err != nil {
		return "", err
	}
	var document struct {
		Info struct{ Title, Version string }
	}
	if json.Unmarshal([]byte(g.Text), &document) != nil || document.Info.Title != "Muster" {
		return "", muster.Errorf(muster.CodeUnreachable, "what answers at %s is no Muster server", c.addr).WithCure("check --addr or MUSTER_ADDR")
	}
	return document.Info.Version, nil
}
