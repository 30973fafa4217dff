package ship_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
	"github.com/muster-ml/muster/client"
)

// logOf sends a stream of a run.
func logOf(a *client.Agent, stream muster.Stream, spool *ship.Spool) *ship.Log {
	return &ship.Log{Name: string(stream), Spool: spool, Put: func(ctx context.Context, offset int64, chunk []byte, times []muster.Mark) (int64, error) {
		return a.PutChunk(ctx, stream, offset, chunk, times)
	}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keeper is a server that keeps chunks as agentapi does: one that it has stays
// as it is. It can be killed and come back at the same address.
type keeper struct {
	t      *testing.T
	addr   string
	server *http.Server

	mu     sync.Mutex
	chunks map[string][]byte // by stream and offset
	times  map[string]string // of the chunks
	calls  int
	odd    func(call int, body []byte) (keep []byte, answer bool) // what to keep of a chunk, and whether to answer
	status int                                                    // answered to all while not 0
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{t: t, addr: "127.0.0.1:0", chunks: map[string][]byte{}, times: map[string]string{}}
	k.open()
	t.Cleanup(func() { _ = k.server.Close() })
	return k
}

// open starts to listen.
func (k *keeper) open() {
	k.t.Helper()
	l, err := net.Listen("tcp", k.addr)
	must(k.t, err)
	k.addr = l.Addr().String()
	server := &http.Server{Handler: k}
	go func() { _ = server.Serve(l) }()
	k.server = server
}

// kill breaks every connection off.
func (k *keeper) kill() { must(k.t, k.server.Close()) }

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	if k.status != 0 {
		w.WriteHeader(k.status)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": string(muster.CodeOfStatus(k.status)), "detail": "as the test wants"})
		return
	}
	parts := strings.Split(r.URL.Path, "/")
	key := strings.Join(parts[len(parts)-2:], "/")
	answer := true
	if k.odd != nil {
		body, answer = k.odd(k.calls, body)
	}
	if _, ok := k.chunks[key]; !ok {
		k.chunks[key], k.times[key] = body, r.Header.Get(muster.ChunkTimesHeader)
	}
	if !answer {
		panic(http.ErrAbortHandler)
	}
	_ = json.NewEncoder(w).Encode(muster.ChunkAnswer{Kept: int64(len(k.chunks[key]))})
}

// log puts a stream together.
func (k *keeper) log(stream muster.Stream) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	var text []byte
	for {
		chunk, ok := k.chunks[fmt.Sprintf("%s/%d", stream, len(text))]
		if !ok {
			return text
		}
		text = append(text, chunk...)
	}
}

// agent returns a client of the servers.
func agent(servers ...string) *client.Agent {
	return client.NewAgent(client.AgentConfig{Launch: "l", Servers: servers, Token: func() (string, error) { return "t", nil }})
}

// seq returns what the command seq writes.
func seq(t *testing.T, n int) []byte {
	t.Helper()
	out, err := exec.Command("seq", strconv.Itoa(n)).Output()
	must(t, err)
	return out
}

// TestNothingLost writes 200,000 numbered lines to both streams while the
// server is killed ten times, in the middle of whatever it does.
func TestNothingLost(t *testing.T) {
	k := newKeeper(t)
	want := seq(t, 200_000)
	a := agent("http://" + k.addr)
	var ships, writers sync.WaitGroup
	var written atomic.Int64
	for _, stream := range []muster.Stream{muster.Stdout, muster.Stderr} {
		spool := ship.NewSpool(t.TempDir(), 1<<30, func() {})
		log := logOf(a, stream, spool)
		ships.Go(func() {
			if err := log.Ship(context.Background()); err != nil {
				t.Error(err)
			}
		})
		writers.Go(func() {
			defer spool.Close()
			for part := want; len(part) > 0; {
				n := min(len(part), 3011)
				if _, err := spool.Write(part[:n]); err != nil {
					t.Error(err)
				}
				part = part[n:]
				written.Add(int64(n))
				<-time.After(2 * time.Millisecond) // as a command that works does
			}
		})
	}
	for kill := range int64(10) {
		for written.Load() < (kill+1)*int64(2*len(want))/12 || len(k.log(muster.Stdout)) == 0 {
			<-time.After(time.Millisecond)
		}
		k.kill()
		before := written.Load()
		for written.Load() < before+20_000 {
			<-time.After(time.Millisecond)
		}
		k.open()
	}
	writers.Wait()
	ships.Wait()
	for _, stream := range []muster.Stream{muster.Stdout, muster.Stderr} {
		if got := k.log(stream); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d, and the same", stream, len(got), len(want))
		}
	}
}

// TestKeptFewer looks at a server that keeps less than was sent, and at answers
// that get lost.
func TestKeptFewer(t *testing.T) {
	k := newKeeper(t)
	k.odd = func(call int, body []byte) ([]byte, bool) {
		switch call % 5 {
		case 0:
			return body[:1+len(body)/3], true
		case 1:
			return body, call == 1
		case 2:
			return body[:1+len(body)/2], false
		}
		return body, true
	}
	want := seq(t, 100_000)
	spool := ship.NewSpool(t.TempDir(), 1<<30, func() {})
	_, err := spool.Write(want)
	must(t, err)
	spool.Close()
	must(t, logOf(agent("http://"+k.addr), muster.Stdout, spool).Ship(context.Background()))
	if got := k.log(muster.Stdout); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d, and the same", len(got), len(want))
	}
}

// TestLive looks that a line arrives before the next one is written.
func TestLive(t *testing.T) {
	k := newKeeper(t)
	spool := ship.NewSpool(t.TempDir(), 1<<20, func() {})
	done := make(chan error, 1)
	go func() {
		done <- logOf(agent("http://"+k.addr), muster.Stdout, spool).Ship(context.Background())
	}()
	for i := range 5 {
		_, err := fmt.Fprintf(spool, "line %d\n", i)
		must(t, err)
		for end := time.Now().Add(20 * time.Second); !bytes.HasSuffix(k.log(muster.Stdout), fmt.Appendf(nil, "line %d\n", i)); {
			if time.Now().After(end) {
				t.Fatalf("line %d does not arrive", i)
			}
			<-time.After(time.Millisecond)
		}
	}
	spool.Close()
	must(t, <-done)
}

// TestTimes looks that each line goes with the time at which it was written, also
// when it is sent late.
func TestTimes(t *testing.T) {
	k := newKeeper(t)
	k.kill()
	spool := ship.NewSpool(t.TempDir(), 1<<20, func() {})
	before := time.Now().UnixMilli()
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		_, err := io.WriteString(spool, line)
		must(t, err)
		for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
			<-time.After(100 * time.Microsecond)
		}
	}
	after := time.Now().UnixMilli()
	spool.Close()
	k.open()
	must(t, logOf(agent("http://"+k.addr), muster.Stdout, spool).Ship(context.Background()))
	marks, err := muster.ParseMarks(0, k.times["stdout/0"])
	must(t, err)
	if len(marks) != 3 || marks[0].Offset != 0 || marks[1].Offset != 4 || marks[2].Offset != 8 || marks[0].Ms < before || marks[0].Ms >= marks[1].Ms || marks[2].Ms > after {
		t.Errorf("between %d and %d were written %v", before, after, marks)
	}
}

// TestSpoolBounded writes more than the limit while the server is away: the
// writer waits, the disk holds no more than the limit, and what is acknowledged
// is freed.
func TestSpoolBounded(t *testing.T) {
	k := newKeeper(t)
	k.kill()
	dir := t.TempDir()
	const limit, total = 20 << 20, 64 << 20
	full := make(chan struct{})
	spool := ship.NewSpool(dir, limit, func() { close(full) })
	block := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	var wrote atomic.Int64
	go func() {
		defer spool.Close()
		for range total / len(block) {
			n, err := spool.Write(block)
			if err != nil {
				t.Error(err)
			}
			wrote.Add(int64(n))
		}
	}()
	done := make(chan error, 1)
	go func() {
		done <- logOf(agent("http://"+k.addr), muster.Stdout, spool).Ship(context.Background())
	}()
	<-full
	if n := wrote.Load(); n > limit {
		t.Errorf("the writer was let %d bytes ahead", n)
	}
	k.open()
	must(t, <-done)
	if got := k.log(muster.Stdout); len(got) != total || !bytes.Equal(got[:len(block)], block) {
		t.Errorf("%d bytes, want %d", len(got), total)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	if len(files) > 1 {
		t.Errorf("%d files of the spool are left: %q", len(files), files)
	}
}

// TestRefused looks that a refusal ends the shipping and lets the writer go.
func TestRefused(t *testing.T) {
	k := newKeeper(t)
	k.status = http.StatusForbidden
	spool := ship.NewSpool(t.TempDir(), 1<<10, func() {})
	done := make(chan error, 1)
	go func() {
		done <- logOf(agent("http://"+k.addr), muster.Stdout, spool).Ship(context.Background())
	}()
	if _, err := spool.Write(make([]byte, 1<<20)); muster.CodeOf(err) != muster.CodeForbidden {
		t.Errorf("the writer hears %v", err)
	}
	if err := <-done; muster.CodeOf(err) != muster.CodeForbidden {
		t.Errorf("shipping ends with %v", err)
	}
}

// TestEnd looks that shipping to a dead server ends with its context.
func TestEnd(t *testing.T) {
	k := newKeeper(t)
	k.kill()
	spool := ship.NewSpool(t.TempDir(), 1<<10, func() {})
	_, err := spool.Write([]byte("x"))
	must(t, err)
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- logOf(agent("http://"+k.addr), muster.Stdout, spool).Ship(ctx)
	}()
	why := errors.New("enough")
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("it ended with %v", err)
	}
}

// TestServerList looks that a call finds the server that answers: the last good
// one first, then the others, then what Consul knows.
func TestServerList(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	gone := "http://" + dead.Addr().String()
	must(t, dead.Close())
	k := newKeeper(t)
	host, port, err := net.SplitHostPort(k.addr)
	must(t, err)
	consul := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/health/service/muster" || r.URL.Query().Get("passing") != "true" {
			t.Errorf("Consul was asked %s", r.URL)
		}
		fmt.Fprintf(w, `[{"Node":{"Address":%q},"Service":{"Address":"","Port":%s}}]`, host, port)
	}))
	defer consul.Close()
	t.Setenv("CONSUL_HTTP_ADDR", strings.TrimPrefix(consul.URL, "http://"))
	ctx := context.Background()
	a := client.NewAgent(client.AgentConfig{Launch: "l", Servers: []string{gone}, Token: func() (string, error) { return "t", nil }, Discover: ship.FromConsul("muster")})
	if _, err := a.PutChunk(ctx, muster.Stdout, 0, []byte("x"), nil); err != nil {
		t.Errorf("the server that Consul knows is not found: %v", err)
	}
	consul.Close()
	if _, err := a.PutChunk(ctx, muster.Stdout, 1, []byte("y"), nil); err != nil {
		t.Errorf("the server that answered is not remembered: %v", err)
	}
	if a.Reached().IsZero() {
		t.Error("it does not know that a server was reached")
	}
	if _, err := agent(gone).PutChunk(ctx, muster.Stdout, 1, []byte("y"), nil); !client.Temporary(err) {
		t.Errorf("without any server: %v", err)
	}
}

// TestProxyError looks that a gateway's page is no answer of Muster's.
func TestProxyError(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>Forbidden</html>", http.StatusForbidden)
	}))
	defer web.Close()
	_, err := agent(web.URL).PutChunk(context.Background(), muster.Stdout, 0, []byte("x"), nil)
	if !client.Temporary(err) {
		t.Errorf("a proxy's refusal ends the run: %v", err)
	}
}

// TestServerFails looks that a file is given up which the server fails to keep,
// and that a server that is away does not count.
func TestServerFails(t *testing.T) {
	answers := []int{500, 503, 500, 500, 200}
	var calls atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		status := answers[calls.Add(1)-1]
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": string(muster.CodeOfStatus(status)), "detail": "as the test wants"})
	}))
	defer web.Close()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("content"), 0o600))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	// Two answers lie a pause apart, and that is too long here.
	folder := ship.Folder{Root: root, UID: os.Geteuid(), GID: os.Getegid(), Patience: time.Nanosecond}
	err = folder.Send(context.Background(), agent("http://127.0.0.1:1", web.URL), "f", "outputs/f")
	if muster.CodeOf(err) != muster.CodeRefused || !strings.Contains(err.Error(), "as the test wants") || calls.Load() != 4 {
		t.Errorf("after %d calls: %v", calls.Load(), err)
	}
}

// TestFolder looks what may be sent.
func TestFolder(t *testing.T) {
	var got atomic.Value
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Store(r.URL.Path + "=" + string(body))
		_, _ = w.Write([]byte("{}"))
	}))
	defer web.Close()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a b?.txt"), []byte("content"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
	must(t, os.Symlink("/etc/hostname", filepath.Join(dir, "out")))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	ctx, a := context.Background(), agent(web.URL)
	mine := ship.Folder{Root: root, UID: os.Geteuid(), GID: os.Getegid()}
	must(t, mine.Send(ctx, a, "a b?.txt", "outputs/a b?.txt"))
	if got.Load() != "/agent/v1/launches/l/instances/0/artifacts/outputs/a b?.txt=content" {
		t.Errorf("sent %q", got.Load())
	}
	must(t, mine.Send(ctx, a, "empty", "outputs/empty"))
	if err := mine.Send(ctx, a, "out", "out"); !errors.Is(err, ship.ErrNotKept) {
		t.Errorf("a link to the outside: %v", err)
	}
	others := ship.Folder{Root: root, UID: os.Geteuid() + 1, GID: os.Getegid() + 1}
	if err := others.Send(ctx, a, "a b?.txt", "x"); !errors.Is(err, ship.ErrNotKept) {
		t.Errorf("a file that the user may not read: %v", err)
	}
}
