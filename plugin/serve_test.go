package plugin

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-msgpack/v2/codec"
	goplugin "github.com/hashicorp/go-plugin"
	base "github.com/hashicorp/nomad/plugins/base/proto"
	device "github.com/hashicorp/nomad/plugins/device/proto"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

// peer speaks to a plugin as Nomad does.
type peer struct {
	*testing.T
	base   base.BasePluginClient
	device device.DevicePluginClient
}

// block is the plugin's block of a configuration.
type block = map[string]any

// serve serves a plugin with the sources given, by default those of the
// configuration, over gRPC.
func serve(t *testing.T, sources ...source) *peer {
	t.Helper()
	s := &server{log: hclog.New(&hclog.LoggerOptions{Output: t.Output(), Level: hclog.Debug}), nudge: make(chan struct{}, 1), open: openSources}
	if len(sources) > 0 {
		s.open = func(config, hclog.Logger, func()) []source { return sources }
	}
	conn, g := goplugin.TestGRPCConn(t, func(g *grpc.Server) {
		for _, v := range services(s) {
			if err := v.(goplugin.GRPCPlugin).GRPCServer(nil, g); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		s.close()
	})
	return &peer{t, base.NewBasePluginClient(conn), device.NewDevicePluginClient(conn)}
}

// configure sets the configuration as Nomad packs it; the real devices of the
// machine are left out unless it names them.
func (p *peer) configure(b block) error {
	p.Helper()
	for _, name := range []string{"nvidia", "fpga"} {
		if b[name] == nil {
			b[name] = block{"enabled": false}
		}
	}
	if b["fingerprint_period"] == nil {
		b["fingerprint_period"] = "100ms"
	}
	var packed []byte
	if err := codec.NewEncoderBytes(&packed, &codec.MsgpackHandle{WriteExt: true}).Encode(b); err != nil {
		p.Fatal(err)
	}
	_, err := p.base.SetConfig(p.Context(), &base.SetConfigRequest{MsgpackConfig: packed})
	return err
}

func (p *peer) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// watch subscribes to what is offered; each call of the answer waits for the
// next change.
func (p *peer) watch() func() []*device.DeviceGroup {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 30*time.Second)
	p.Cleanup(cancel)
	stream, err := p.device.Fingerprint(ctx, &device.FingerprintRequest{})
	p.must(err)
	return func() []*device.DeviceGroup {
		p.Helper()
		got, err := stream.Recv()
		p.must(err)
		return got.GetDeviceGroup()
	}
}

// reserve reserves devices.
func (p *peer) reserve(ids ...string) (*device.ContainerReservation, error) {
	res, err := p.device.Reserve(p.Context(), &device.ReserveRequest{DeviceIds: ids})
	return res.GetContainerRes(), err
}

// stats returns the statistics that come first, and those that come after them.
func (p *peer) stats() (first, second []*device.DeviceGroupStats) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 30*time.Second)
	defer cancel()
	stream, err := p.device.Stats(ctx, &device.StatsRequest{CollectionInterval: durationpb.New(200 * time.Millisecond)})
	p.must(err)
	one, err := stream.Recv()
	p.must(err)
	two, err := stream.Recv()
	p.must(err)
	return one.GetGroups(), two.GetGroups()
}

// describe writes groups as lines "vendor/type/name id, id (reason)".
func describe(groups []*device.DeviceGroup) string {
	var lines []string
	for _, g := range groups {
		var ids []string
		for _, d := range g.GetDevices() {
			id := d.GetID()
			if d.GetHealthy() != (d.GetHealthDescription() == "") {
				id += " (health and its reason disagree)"
			}
			if d.GetHealthDescription() != "" {
				id += " (" + d.GetHealthDescription() + ")"
			}
			ids = append(ids, id)
		}
		lines = append(lines, g.GetVendor()+"/"+g.GetDeviceType()+"/"+g.GetDeviceName()+" "+strings.Join(ids, ", "))
	}
	return strings.Join(lines, "\n")
}

// build builds the program as "make build" does and returns its path.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), Name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "./cmd/muster-device")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=1", "CGO_CFLAGS=-g -O2 -Wno-deprecated-declarations", "CGO_LDFLAGS=-g -O2 -Wl,-z,lazy")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", Name, err, out)
	}
	return path
}

// start starts the program as Nomad does.
func start(t *testing.T, path string) (*peer, *goplugin.Client) {
	t.Helper()
	c := goplugin.NewClient(&goplugin.ClientConfig{HandshakeConfig: handshake, Plugins: services(nil), Cmd: exec.Command(path),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, Logger: hclog.New(&hclog.LoggerOptions{Output: t.Output(), Level: hclog.Debug})})
	t.Cleanup(c.Kill)
	speaks, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	conn := speaks.(*goplugin.GRPCClient).Conn
	return &peer{t, base.NewBasePluginClient(conn), device.NewDevicePluginClient(conn)}, c
}

// TestProgram starts the program that is shipped, over Nomad's handshake.
func TestProgram(t *testing.T) {
	path := build(t)
	p, c := start(t, path)
	info, err := p.base.PluginInfo(t.Context(), &base.PluginInfoRequest{})
	p.must(err)
	if info.GetName() != Name || info.GetType() != base.PluginType_DEVICE || len(info.GetPluginApiVersions()) != 1 || info.GetPluginApiVersions()[0] != "v0.1.0" {
		t.Errorf("the plugin says that it is %v", info)
	}
	p.must(p.configure(block{"nvidia": block{}, "fpga": block{}, "simulated": []block{{"model": "K80", "count": 2}}}))
	if got := describe(p.watch()()); !strings.Contains(got, "muster/gpu/K80 sim-K80-0, sim-K80-1") {
		t.Errorf("it offers %q", got)
	}
	c.Kill()
	if !c.Exited() {
		t.Error("it does not end when it is told to")
	}
	out, err := exec.CommandContext(t.Context(), path).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is a plugin") {
		t.Errorf("started by hand it says %q, %v", out, err)
	}
}

// TestOrphan ends the process that started the program without a word to it.
func TestOrphan(t *testing.T) {
	path := build(t)
	shell := exec.CommandContext(t.Context(), "sh", "-c", `"$0" & echo $!; sleep 1000`, path)
	shell.Env = append(os.Environ(), handshake.MagicCookieKey+"="+handshake.MagicCookieValue)
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 32)
	n, err := out.Read(said)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(strings.SplitN(string(said[:n]), "\n", 2)[0])
	proc := filepath.Join("/proc", pid, "exe")
	await(t, "the program runs", func() bool { exe, _ := os.Readlink(proc); return exe == path })
	if err := shell.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = shell.Wait()
	await(t, "the program ends with its parent", func() bool { exe, _ := os.Readlink(proc); return exe != path })
}

// await polls until the condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 60 s: %s", what)
		}
	}
}
