package cli

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestLogPrinter shows chunks that cut lines and colours in two.
func TestLogPrinter(t *testing.T) {
	chunks := []*muster.Chunk{
		{Attempt: 1, Stream: muster.Stdout, Data: []byte("one\n\x1b[3"), Marks: []muster.Mark{{Offset: 0, Ms: 1_000}, {Offset: 4, Ms: 2_000}}},
		{Attempt: 1, Instance: 1, Stream: muster.Stderr, Data: []byte("oops\n"), Marks: []muster.Mark{{Ms: 2_500}}},
		{Attempt: 1, Stream: muster.Stdout, Offset: 7, Data: []byte("1mtwo\x1b[0m\nthree"), Marks: []muster.Mark{{Offset: 7, Ms: 3_000}}},
	}
	for name, c := range map[string]struct {
		look     logLook
		out, err string
	}{
		"piped":  {logLook{}, "one\ntwo\nthree", "oops\n"},
		"always": {logLook{colour: "always"}, "one\n\x1b[31mtwo\x1b[0m\nthree", "oops\n"},
		"ranks":  {logLook{ranks: true}, "[0] one\n[0] two\n[0] three\n", "[1] oops\n"},
		"stamps": {logLook{stamps: true}, "1970-01-01T00:00:01.000Z one\n1970-01-01T00:00:02.000Z two\n1970-01-01T00:00:03.000Z three\n", "1970-01-01T00:00:02.500Z oops\n"},
		"grep":   {logLook{grep: regexp.MustCompile("^t.*[oe]$")}, "two\nthree\n", ""},
		"json": {logLook{json: true, grep: regexp.MustCompile("two|oops")}, `{"time":"1970-01-01T00:00:02.5Z","attempt":1,"instance":1,"rank":1,"stream":"stderr","text":"oops"}` + "\n" +
			`{"time":"1970-01-01T00:00:02Z","attempt":1,"instance":0,"rank":0,"stream":"stdout","text":"two"}` + "\n", ""},
	} {
		var out, errs strings.Builder
		p := newLogPrinter(&out, &errs, c.look)
		for _, chunk := range chunks {
			if err := p.print(chunk); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.flush(); err != nil || out.String() != c.out || errs.String() != c.err {
			t.Errorf("%s: %q and %q, %v", name, out.String(), errs.String(), err)
		}
	}
}

func TestReadSince(t *testing.T) {
	now := time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{"5m": "2026-05-06T11:55:00Z", "2d": "2026-05-04T12:00:00Z", "0.5d": "2026-05-06T00:00:00Z", "10:30:00": "2026-05-06T10:30:00Z",
		"2026-01-02": "2026-01-02T00:00:00Z", "2026-01-02T03:04:05+01:00": "2026-01-02T02:04:05Z"} {
		if got, err := readSince(text, now); err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"yesterday", "-5m", "5", "d", "-1d"} {
		if got, err := readSince(text, now); muster.CodeOf(err) != muster.CodeInvalid {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
}
