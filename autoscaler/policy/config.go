package policy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// env returns a variable, or what it is without one.
func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// readConfig reads the flags and variables of run, and finds the programs.
func readConfig(ctx context.Context, args []string, out io.Writer) (*Config, error) {
	flags, dir := newFlags("run", out)
	c := &Config{Nomad: map[string]string{}}
	s := &c.Settings
	flags.StringVar(&s.Addr, "addr", env("MUSTER_ADDR", "http://127.0.0.1:4750"), "`URL` of the Muster server (MUSTER_ADDR)")
	flags.StringVar(&s.TokenFile, "token-file", env("MUSTER_TOKEN_FILE", ""), "`file` with the token of a platform admin (MUSTER_TOKEN_FILE; MUSTER_TOKEN is the token itself)")
	flags.StringVar(&s.CACert, "ca-cert", env("MUSTER_CACERT", ""), "`file` with the authority of the server's certificate (MUSTER_CACERT)")
	flags.StringVar(&s.Servers, "nomad-rpc", env("MUSTER_NOMAD_RPC", ""), "`addresses` for RPC of Nomad's servers, with commas between (MUSTER_NOMAD_RPC; default: port 4647 of --nomad-addr)")
	flags.StringVar(&s.Consul, "consul-addr", env("CONSUL_HTTP_ADDR", ""), "`URL` of Consul for the machines (CONSUL_HTTP_ADDR)")
	flags.StringVar(&s.Program, "nomad-program", env("MUSTER_NOMAD_PROGRAM", ""), "`path` of nomad, for machines here (MUSTER_NOMAD_PROGRAM; default: where it is found)")
	flags.StringVar(&s.DevicePlugin, "device-plugin", env("MUSTER_DEVICE_PLUGIN", ""), "`path` of muster-device, for machines with simulated devices (MUSTER_DEVICE_PLUGIN)")
	flags.StringVar(&c.AutoscalerProgram, "autoscaler-program", env("MUSTER_AUTOSCALER_PROGRAM", ""), "`path` of nomad-autoscaler (MUSTER_AUTOSCALER_PROGRAM; default: where it is found)")
	flags.DurationVar(&c.Interval, "interval", 2*time.Second, "`time` between two looks")
	flags.BoolVar(&c.StopMachines, "stop-machines", false, "at the end, stop the machines, too; they live on otherwise")
	nomadAddr := flags.String("nomad-addr", env("NOMAD_ADDR", "http://127.0.0.1:4646"), "`URL` of Nomad (NOMAD_ADDR; NOMAD_TOKEN, NOMAD_REGION, NOMAD_CACERT, NOMAD_CLIENT_CERT, NOMAD_CLIENT_KEY and NOMAD_TLS_SERVER_NAME are taken, too)")
	if err := parse(flags, args, 0); err != nil {
		return nil, err
	}
	if c.Interval < 100*time.Millisecond {
		return nil, muster.Errorf(muster.CodeInvalid, "the interval is %s", c.Interval).At("interval").WithCure("use 100ms at least, 2s is usual")
	}
	c.Nomad["address"] = *nomadAddr
	for key, name := range map[string]string{"token": "NOMAD_TOKEN", "region": "NOMAD_REGION", "ca_cert": "NOMAD_CACERT", "client_cert": "NOMAD_CLIENT_CERT",
		"client_key": "NOMAD_CLIENT_KEY", "tls_server_name": "NOMAD_TLS_SERVER_NAME"} {
		if value := os.Getenv(name); value != "" {
			c.Nomad[key] = value
		}
	}
	var err error
	if s.Servers == "" {
		if s.Servers, err = rpcOf(*nomadAddr); err != nil {
			return nil, err
		}
	}
	if s.Dir, err = filepath.Abs(*dir); err != nil {
		return nil, fmt.Errorf("find the folder: %w", err)
	}
	return c, c.complete(ctx)
}

// rpcOf guesses where a Nomad server takes RPC.
func rpcOf(addr string) (string, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Hostname() == "" {
		return "", muster.Errorf(muster.CodeInvalid, "%q is not the URL of Nomad", addr).At("nomad-addr").WithCure("write it like http://127.0.0.1:4646")
	}
	return net.JoinHostPort(u.Hostname(), "4647"), nil
}

// complete finds the programs, makes paths absolute and puts the token where the
// plugins read it.
func (c *Config) complete(ctx context.Context) error {
	var err error
	if c.Self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if c.AutoscalerProgram == "" {
		if c.AutoscalerProgram, err = engines.Find(ctx, "nomad-autoscaler"); err != nil {
			return err
		}
	}
	s := &c.Settings
	if s.Program == "" {
		// Without nomad there are no machines here, and clusters of other providers.
		if s.Program, err = engines.Find(ctx, "nomad"); err != nil && muster.CodeOf(err) != muster.CodeRefused {
			return err
		}
	}
	for _, path := range []*string{&c.AutoscalerProgram, &s.Program, &s.DevicePlugin, &s.TokenFile, &s.CACert} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return fmt.Errorf("find %s: %w", *path, err)
		}
	}
	token := os.Getenv("MUSTER_TOKEN")
	if s.TokenFile != "" || token == "" {
		return nil
	}
	if err := os.MkdirAll(c.agentsDir(), 0o700); err != nil {
		return fmt.Errorf("make folder of the autoscaler: %w", err)
	}
	s.TokenFile = filepath.Join(c.agentsDir(), "token")
	return writeFile(s.TokenFile, token+"\n")
}
