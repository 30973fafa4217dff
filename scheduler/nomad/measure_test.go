package nomad

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestOperations holds that no name of a thing is in the name of an operation.
func TestOperations(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/allocations?namespace=*":                               "GET allocations",
		"/v1/allocation/5f0c?namespace=ws-1-a":                      "GET allocation/ID",
		"/v1/job/muster-1-2%2Fdispatch-3":                           "GET job/ID",
		"/v1/job/muster-1-2/dispatch":                               "GET job/ID/dispatch",
		"/v1/namespace/ws-1-vision":                                 "GET namespace/ID",
		"/v1/client/allocation/5f0c/stats?namespace=ws-1-a":         "GET client/allocation/ID/stats",
		"/v1/client/stats?node_id=5f0c":                             "GET client/stats",
		"/v1/event/stream?topic=Job":                                "GET event/stream",
		"/v1/var/nomad/jobs/muster-1-2/registries?namespace=ws-1-a": "GET var/ID",
		"/v1/status/leader":                                         "GET status/leader",
		"/.well-known/jwks.json":                                    "GET .well-known/jwks.json",
	} {
		if got := operation(httptest.NewRequest(http.MethodGet, path, nil)); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

// TestMeasured holds that each call is told with how it ended, and that no is
// not a failure.
func TestMeasured(t *testing.T) {
	status := http.StatusOK
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status == 0 {
			<-r.Context().Done() // it takes the call and does not answer
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`"127.0.0.1:4647"`))
	}))
	defer web.Close()
	var told []string // by the calls of this test, one after another
	n, err := New(Config{Address: web.URL, Limit: 100 * time.Millisecond, Observe: func(operation string, took time.Duration, err error) {
		if took <= 0 {
			t.Errorf("it took %s", took)
		}
		if err != nil {
			operation += " failed"
		}
		told = append(told, operation)
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		want   string
		code   muster.Code
	}{{200, "GET status/leader", ""}, {403, "GET status/leader", muster.CodeUnreachable}, {500, "GET status/leader failed", muster.CodeUnreachable}, {0, "GET status/leader failed", muster.CodeUnreachable}} {
		told, status = nil, c.status
		if err := n.Ping(t.Context()); muster.CodeOf(err) != c.code || len(told) != 1 || told[0] != c.want {
			t.Errorf("status %d: %v, told %q", c.status, err, told)
		}
	}
}
