package ship

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// FromConsul returns a function that asks the node's Consul agent for the
// servers registered under the service's name; nil for "". Whatever goes wrong
// is an empty list: Consul is the last thing to ask, and the known servers are
// tried again anyway.
func FromConsul(service string) func(ctx context.Context) []string {
	if service == "" {
		return nil
	}
	base := os.Getenv("CONSUL_HTTP_ADDR")
	if base == "" {
		base = "127.0.0.1:8500"
	}
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	target := strings.TrimSuffix(base, "/") + "/v1/health/service/" + url.PathEscape(service) + "?passing=true"
	return func(ctx context.Context) []string {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return askConsul(ctx, target)
	}
}

// askConsul reads a list of healthy services.
func askConsul(ctx context.Context, target string) (servers []string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil
	}
	if token := os.Getenv("CONSUL_HTTP_TOKEN"); token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var list []struct {
		Node    struct{ Address string }
		Service struct {
			Address string
			Port    int
			Meta    map[string]string
		}
	}
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&list) != nil {
		return nil
	}
	for _, s := range list {
		host := s.Service.Address
		if host == "" {
			host = s.Node.Address
		}
		address := "http://" + net.JoinHostPort(host, strconv.Itoa(s.Service.Port))
		if s.Service.Meta["url"] != "" {
			address = s.Service.Meta["url"]
		}
		servers = append(servers, address)
	}
	return servers
}
