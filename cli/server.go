package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/oidc"
	"github.com/muster-ml/muster/server"
)

// serverCommand is the server alone, against engines that the user has.
func serverCommand() *cli.Command {
	return &cli.Command{
		Name:  "server",
		Usage: "run the Muster server against Nomad and Consul agents that you have",
		Description: "Example: muster server --data-dir /var/lib/muster-server --nomad-addr https://nomad.example:4646 --advertise http://10.0.0.5:4750\n" +
			"The first start writes a token to DATA-DIR/token.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "`FOLDER` of the database and the artifacts", Value: "/var/lib/muster-server", EnvVars: []string{"MUSTER_DATA_DIR"}},
			&cli.StringFlag{Name: "artifacts", Usage: "`URL` where artifacts and logs are kept: a folder, s3://BUCKET?region=…, azblob://CONTAINER or gs://BUCKET (default: DATA-DIR/artifacts)", EnvVars: []string{"MUSTER_ARTIFACTS"}},
			&cli.StringFlag{Name: "listen", Usage: "`HOST:PORT` to listen on", Value: "127.0.0.1:4750", EnvVars: []string{"MUSTER_LISTEN"}},
			&cli.StringFlag{Name: "advertise", Usage: "`URL` under which nodes reach this server (default: made of --listen)", EnvVars: []string{"MUSTER_ADVERTISE"}},
			&cli.StringFlag{Name: "tls-cert", Usage: "`FILE` with this server's certificate in PEM: it then speaks HTTPS alone; read anew when it changes", EnvVars: []string{"MUSTER_TLS_CERT"}},
			&cli.StringFlag{Name: "tls-key", Usage: "`FILE` with the certificate's key", EnvVars: []string{"MUSTER_TLS_KEY"}},
			&cli.StringFlag{Name: "tls-ca", Usage: "`FILE` with the certificate's authority, handed to agents (default: one that every node knows)", EnvVars: []string{"MUSTER_TLS_CA"}},
			&cli.StringFlag{Name: "agent-binary", Usage: "`FILE` that nodes run (default: muster-agent beside this program)", EnvVars: []string{"MUSTER_AGENT_BINARY"}},
			&cli.StringFlag{Name: "sizes", Usage: "`FILE` with node sizes to add to the catalogue, see muster size list", EnvVars: []string{"MUSTER_SIZES"}},
			&cli.StringFlag{Name: "site", Usage: "`FILE` that says what environments this site offers, or \"default\" for the table that muster dev has (default: none)", EnvVars: []string{"MUSTER_SITE"}},
			&cli.StringFlag{Name: "run-as", Usage: "`USER` of commands on nodes whose Nomad client is root", Value: "nobody", EnvVars: []string{"MUSTER_RUN_AS"}},
			&cli.StringFlag{Name: "container-user", Usage: "`USER` of commands in containers, as UID[:GID] or a name in the image (default: the image's own)", EnvVars: []string{"MUSTER_CONTAINER_USER"}},
			&cli.DurationFlag{Name: "fence", Usage: "`TIME` for which an unreachable node must be silent until its runs are lost", Value: 5 * time.Minute, EnvVars: []string{"MUSTER_FENCE"}},
			&cli.DurationFlag{Name: "tick", Usage: "`TIME` between looks at everything without a reason; 0 is never", Value: time.Minute, EnvVars: []string{"MUSTER_TICK"}},
			&cli.DurationFlag{Name: "stats-every", Usage: "`TIME` between samples of what runs, their nodes and their devices use, at least 1s; 0 is never", Value: 10 * time.Second, EnvVars: []string{"MUSTER_STATS_EVERY"}},
			&cli.StringFlag{Name: "nomad-addr", Usage: "`URL` of a Nomad agent", Value: "http://127.0.0.1:4646", EnvVars: []string{"NOMAD_ADDR"}},
			&cli.StringFlag{Name: "nomad-mode", Usage: "`MODE`: manage (Muster makes namespaces, its token is a management token) or existing (the operator makes them, see muster policies)", Value: "manage", EnvVars: []string{"MUSTER_NOMAD_MODE"}},
			&cli.StringFlag{Name: "nomad-token", Usage: "`SECRET` id of a Nomad token", EnvVars: []string{"NOMAD_TOKEN"}},
			&cli.StringFlag{Name: "nomad-region", Usage: "Nomad `REGION`", EnvVars: []string{"NOMAD_REGION"}},
			&cli.StringFlag{Name: "nomad-ca-cert", Usage: "`FILE` with the certificate authority of Nomad", EnvVars: []string{"NOMAD_CACERT"}},
			&cli.StringFlag{Name: "nomad-client-cert", Usage: "`FILE` with our certificate", EnvVars: []string{"NOMAD_CLIENT_CERT"}},
			&cli.StringFlag{Name: "nomad-client-key", Usage: "`FILE` with our certificate's key", EnvVars: []string{"NOMAD_CLIENT_KEY"}},
			&cli.StringFlag{Name: "nomad-tls-server-name", Usage: "`NAME` in Nomad's certificate", EnvVars: []string{"NOMAD_TLS_SERVER_NAME"}},
			&cli.StringFlag{Name: "consul-addr", Usage: "`URL` of a Consul agent; none for no Consul", Value: "http://127.0.0.1:8500", EnvVars: []string{"CONSUL_HTTP_ADDR"}},
			&cli.StringFlag{Name: "consul-token", Usage: "Consul `TOKEN`", EnvVars: []string{"CONSUL_HTTP_TOKEN"}},
			&cli.StringFlag{Name: "consul-ca-cert", Usage: "`FILE` with the certificate authority of Consul", EnvVars: []string{"CONSUL_CACERT"}},
			&cli.StringFlag{Name: "consul-client-cert", Usage: "`FILE` with our certificate", EnvVars: []string{"CONSUL_CLIENT_CERT"}},
			&cli.StringFlag{Name: "consul-client-key", Usage: "`FILE` with our certificate's key", EnvVars: []string{"CONSUL_CLIENT_KEY"}},
			&cli.StringFlag{Name: "oidc-issuer", Usage: "`URL` of an OpenID Connect issuer whose people may log in", EnvVars: []string{"MUSTER_OIDC_ISSUER"}},
			&cli.StringFlag{Name: "oidc-client-id", Usage: "`ID` under which Muster is registered there: a public client with the redirect http://127.0.0.1/callback", EnvVars: []string{"MUSTER_OIDC_CLIENT_ID"}},
			&cli.StringFlag{Name: "oidc-audience", Usage: "`NAME` for which its tokens must be meant (default: the client id)", EnvVars: []string{"MUSTER_OIDC_AUDIENCE"}},
			&cli.StringSliceFlag{Name: "oidc-scope", Usage: "`SCOPE` that muster login asks for; may be given again", Value: cli.NewStringSlice("openid", "profile", "email", "offline_access"), EnvVars: []string{"MUSTER_OIDC_SCOPES"}},
			&cli.StringFlag{Name: "oidc-name-claim", Usage: "`CLAIM` that names a person; sub where it is missing", Value: "email", EnvVars: []string{"MUSTER_OIDC_NAME_CLAIM"}},
			&cli.StringFlag{Name: "oidc-groups-claim", Usage: "`CLAIM` that lists a person's groups", Value: "groups", EnvVars: []string{"MUSTER_OIDC_GROUPS_CLAIM"}},
			&cli.StringSliceFlag{Name: "oidc-role", Usage: "`GROUP=ROLE[@WORKSPACE]`: what a group may do; * is everybody there; may be given again", EnvVars: []string{"MUSTER_OIDC_ROLES"}},
			&cli.StringFlag{Name: "access-log", Usage: "which `REQUESTS` are logged: on (all), errors (refused or failed ones) or off", Value: "errors", EnvVars: []string{"MUSTER_ACCESS_LOG"}},
			&cli.StringFlag{Name: "otlp-endpoint", Usage: "`URL` of an OpenTelemetry receiver (OTLP over HTTP) that gets a trace of each run (default: none)", EnvVars: []string{"MUSTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}},
			&cli.StringFlag{Name: "metrics-listen", Usage: "`HOST:PORT` to serve /metrics on, instead of with the API", EnvVars: []string{"MUSTER_METRICS_LISTEN"}},
			&cli.Float64Flag{Name: "rate-limit", Usage: "`MANY` requests a second that one principal may send over a while, four times as many at once; 0 is no limit", Value: 50, EnvVars: []string{"MUSTER_RATE_LIMIT"}},
			&cli.IntFlag{Name: "max-streams", Usage: "`MANY` streams and transfers that one principal may have open; 0 is no limit", Value: 50, EnvVars: []string{"MUSTER_MAX_STREAMS"}},
			&cli.StringSliceFlag{Name: "cors-origin", Usage: "`ORIGIN` of pages in browsers that may call the API, such as https://portal.example; may be given again (default: none)", EnvVars: []string{"MUSTER_CORS_ORIGINS"}},
			&cli.StringFlag{Name: "log-level", Usage: "`LEVEL`: debug, info, warn or error", Value: "info", EnvVars: []string{"MUSTER_LOG_LEVEL"}},
		},
		Action: runServer,
	}
}

// runServer serves until a signal comes.
func runServer(c *cli.Context) error {
	if c.Args().Present() {
		return muster.Errorf(muster.CodeInvalid, "muster server takes no argument, and got %q", c.Args().First())
	}
	conf, err := serverConfig(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := server.Open(ctx, conf)
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Fprintf(c.App.Writer, "muster server at %s, data in %s, token in %s\n", s.URL, conf.DataDir, filepath.Join(conf.DataDir, "token"))
	return serve(ctx, s)
}

// serve serves and closes.
func serve(ctx context.Context, s *server.Server) error {
	if err := s.Serve(ctx); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// serverConfig reads the flags.
func serverConfig(c *cli.Context) (server.Config, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return server.Config{}, muster.Errorf(muster.CodeInvalid, "--log-level is %q", c.String("log-level")).WithCure("use debug, info, warn or error")
	}
	if c.Duration("fence") < time.Second || c.Duration("tick") < 0 {
		return server.Config{}, muster.Errorf(muster.CodeInvalid, "--fence must be at least 1s, and --tick not less than 0")
	}
	if every := c.Duration("stats-every"); every < time.Second && every != 0 {
		return server.Config{}, muster.Errorf(muster.CodeInvalid, "--stats-every is %s", every).WithCure("use 1s or more, or 0 for no statistics")
	}
	if u, err := url.Parse(c.String("nomad-addr")); err != nil || u.Scheme != "unix" && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return server.Config{}, muster.Errorf(muster.CodeInvalid, "--nomad-addr (or NOMAD_ADDR) is %q, which is no URL of a Nomad agent", c.String("nomad-addr")).WithCure("write it like http://127.0.0.1:4646")
	}
	agent := c.String("agent-binary")
	if agent == "" {
		self, err := os.Executable()
		if err != nil {
			return server.Config{}, fmt.Errorf("find this program: %w", err)
		}
		agent = filepath.Join(filepath.Dir(self), "muster-agent")
	}
	people, err := oidcConfig(c)
	if err != nil {
		return server.Config{}, err
	}
	limits, err := limitsOf(c)
	if err != nil {
		return server.Config{}, err
	}
	site, err := readSite(c.String("site"))
	if err != nil {
		return server.Config{}, err
	}
	sizes, err := readSizes(c.String("sizes"))
	if err != nil {
		return server.Config{}, err
	}
	return server.Config{
		DataDir: c.String("data-dir"), Artifacts: c.String("artifacts"), Listen: c.String("listen"), Advertise: c.String("advertise"), TLS: server.TLS{Cert: c.String("tls-cert"), Key: c.String("tls-key"), CA: c.String("tls-ca")}, Agent: agent,
		RunAs: c.String("run-as"), ContainerUser: c.String("container-user"), Fence: c.Duration("fence"), Tick: c.Duration("tick"), StatsEvery: c.Duration("stats-every"),
		Nomad: server.Nomad{Mode: muster.NomadMode(c.String("nomad-mode")), Address: c.String("nomad-addr"), Token: c.String("nomad-token"), Region: c.String("nomad-region"), CACert: c.String("nomad-ca-cert"),
			ClientCert: c.String("nomad-client-cert"), ClientKey: c.String("nomad-client-key"), ServerName: c.String("nomad-tls-server-name")},
		NoConsul: c.String("consul-addr") == "none",
		Consul: server.Consul{Address: c.String("consul-addr"), Token: c.String("consul-token"), CACert: c.String("consul-ca-cert"),
			ClientCert: c.String("consul-client-cert"), ClientKey: c.String("consul-client-key")},
		OIDC:      people,
		Site:      site,
		Sizes:     sizes,
		Limits:    limits,
		Origins:   c.StringSlice("cors-origin"),
		AccessLog: server.AccessLog(c.String("access-log")), MetricsListen: c.String("metrics-listen"), OTLP: c.String("otlp-endpoint"),
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}, nil
}

// limitsOf reads how much one principal may ask for, and checks the origins.
func limitsOf(c *cli.Context) (server.Limits, error) {
	l := server.Limits{Rate: c.Float64("rate-limit"), Burst: int(4 * c.Float64("rate-limit")), Streams: c.Int("max-streams")}
	if !(l.Rate >= 0 && l.Rate <= 1e6) || l.Streams < 0 {
		return l, muster.Errorf(muster.CodeInvalid, "--rate-limit is %g, and --max-streams %d", l.Rate, l.Streams).WithCure("use 0 for no limit")
	}
	for _, origin := range c.StringSlice("cors-origin") {
		if err := server.CheckOrigin(origin); err != nil {
			return l, err
		}
	}
	return l, nil
}

// oidcConfig reads the flags about people's logins.
func oidcConfig(c *cli.Context) (server.OIDC, error) {
	conf := server.OIDC{Issuer: c.String("oidc-issuer"), ClientID: c.String("oidc-client-id"), Audience: c.String("oidc-audience"),
		Scopes: c.StringSlice("oidc-scope"), NameClaim: c.String("oidc-name-claim"), GroupsClaim: c.String("oidc-groups-claim")}
	for _, text := range c.StringSlice("oidc-role") {
		rule, err := oidc.ReadRule(text)
		if err != nil {
			return conf, err
		}
		conf.Rules = append(conf.Rules, rule)
	}
	return conf, nil
}
