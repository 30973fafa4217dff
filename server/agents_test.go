package server

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestKeepAgent holds that the copy outlives the file, and that the agents of
// earlier starts are kept, but not all for ever.
func TestKeepAgent(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "muster-agent"), filepath.Join(t.TempDir(), "agents")
	if _, err := keepAgent(file, dir); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("without an agent: %v", err)
	}
	var sums []string
	for i := range keptAgents + 2 {
		text := fmt.Sprint("agent ", i)
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		sum, err := keepAgent(file, dir)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(filepath.Join(dir, sum), at, at); err != nil {
			t.Fatal(err)
		}
		pack, err := os.Open(filepath.Join(dir, sum))
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(pack)
		head, err := r.Next()
		if err != nil || head.Mode != 0o755 {
			t.Fatalf("%+v, %v", head, err)
		}
		if got, err := io.ReadAll(r); string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
		pack.Close()
		sums = append(sums, sum)
	}
	for i, sum := range sums {
		if _, err := os.Stat(filepath.Join(dir, sum)); (err == nil) != (i >= 2) {
			t.Errorf("agent %d: %v", i, err)
		}
	}
	if again, err := keepAgent(file, dir); err != nil || again != sums[len(sums)-1] {
		t.Errorf("the same again: %s, %v", again, err)
	}
}
