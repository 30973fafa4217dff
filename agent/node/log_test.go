package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster/agent/ship"
)

// TestLastLine looks which line is shown of what a command has written.
func TestLastLine(t *testing.T) {
	for said, want := range map[string]string{
		"": "", "one": "one", "one\ntwo\n": "two", "one\n \n\r\n": "one", "10%\r20%\r": "20%", "\x1b[1mred\x07 \xff": "[1mred",
		strings.Repeat("ü", 900): strings.Repeat("ü", 200), "a\n" + strings.Repeat("b", 5000) + "\n\n": strings.Repeat("b", 200),
	} {
		whole, bytes := &lastLine{}, &lastLine{}
		fmt.Fprint(whole, said)
		for i := range len(said) {
			_, _ = bytes.Write([]byte{said[i]})
		}
		if whole.String() != want || bytes.String() != want {
			t.Errorf("of %.40q it shows %q, and byte by byte %q", said, whole, bytes)
		}
	}
}

// TestLongLog looks at a log that is longer than what is kept.
func TestLongLog(t *testing.T) {
	dir := t.TempDir()
	l := &setUpLog{spool: ship.NewSpool(dir, 1<<20, func() {}), left: 10}
	for range 3 {
		if n, err := l.Write([]byte("123456\n")); n != 7 || err != nil {
			t.Errorf("the writer hears %d, %v", n, err)
		}
	}
	l.say("ended")
	text, err := os.ReadFile(filepath.Join(dir, "0000000000000000"))
	must(t, err)
	if want := "123456\n123\n== the rest is not kept: a log may have 64 MiB\n== ended\n"; string(text) != want {
		t.Errorf("it keeps %q", text)
	}
}

// TestLogID looks at names of logs that could be none.
func TestLogID(t *testing.T) {
	at := time.UnixMilli(1795649627416)
	for boot, want := range map[string]string{"397bec8b-5556": "397bec8b-0-abc-2-1795649627416", "397bec8b-5556/b 7/x": "397bec8b-b_7_x-abc-2-1795649627416"} {
		if got := logID(boot, "abc", 2, at); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
	if got := logID("b/"+strings.Repeat("x", 500), strings.Repeat("g", 500), 1, at); len(got) > 128 {
		t.Errorf("it has %d bytes", len(got))
	}
}

// TestShort looks how time limits are shown.
func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{15 * time.Minute: "15m", time.Hour: "1h", 90 * time.Second: "1m30s", 30 * time.Second: "30s", 10 * time.Hour: "10h", 3600*time.Second + 30*time.Second: "1h0m30s"} {
		if got := short(d); got != want {
			t.Errorf("%s is shown as %q", d, got)
		}
	}
}
