package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/muster-ml/muster"
)

// logLook says how logs are shown.
type logLook struct {
	ranks  bool           // begin lines with the rank that wrote them
	stamps bool           // begin lines with the time
	grep   *regexp.Regexp // only lines that match; nil is all
	json   bool           // one object a line
	colour string         // of what the command wrote: always, never or auto
}

// raw reports whether bytes are shown as they come, and not by lines.
func (l logLook) raw() bool { return !l.ranks && !l.stamps && l.grep == nil && !l.json }

// logEntry is a line of a log as -o json shows it.
type logEntry struct {
	Time     time.Time     `json:"time"`
	Attempt  int           `json:"attempt"`
	Instance int           `json:"instance"`
	Rank     int           `json:"rank"`
	Stream   muster.Stream `json:"stream"`
	Text     string        `json:"text"` // without the end of the line
}

// logPrinter shows chunks. It is not for use by several goroutines.
type logPrinter struct {
	logLook
	out, err io.Writer
	begun    map[logKey]*begunLine
	shown    bool // something was written
}

// logKey names one log of an attempt.
type logKey struct {
	instance int
	stream   muster.Stream
}

// begunLine is what has come of a line whose end has not.
type begunLine struct {
	attempt int
	ms      int64 // when its first byte was written
	text    []byte
}

func newLogPrinter(out, err io.Writer, look logLook) *logPrinter {
	return &logPrinter{logLook: look, out: out, err: err, begun: map[logKey]*begunLine{}}
}

// to is where a stream goes.
func (p *logPrinter) to(s muster.Stream) io.Writer {
	if s == muster.Stderr {
		return p.err
	}
	return p.out
}

// plain reports whether colours are taken out of what goes there.
func (p *logPrinter) plain(to io.Writer) bool {
	switch p.colour {
	case "always":
		return false
	case "never":
		return true
	}
	file, ok := to.(*os.File)
	return p.json || !ok || !isTerminal(file)
}

// print shows a chunk.
func (p *logPrinter) print(c *muster.Chunk) error {
	key := logKey{c.Instance, c.Stream}
	if p.raw() && (!p.plain(p.to(c.Stream)) || p.begun[key] == nil && bytes.IndexByte(c.Data, 0x1b) < 0) {
		p.shown = p.shown || len(c.Data) > 0
		_, err := p.to(c.Stream).Write(c.Data)
		return err
	}
	rest, offset, marks := c.Data, c.Offset, c.Marks
	for len(rest) > 0 {
		piece := rest
		i := bytes.IndexByte(rest, '\n')
		if i >= 0 {
			piece = rest[:i+1]
		}
		for len(marks) > 1 && marks[1].Offset <= offset {
			marks = marks[1:]
		}
		b := p.begun[key]
		if b == nil {
			b = &begunLine{attempt: c.Attempt}
			if len(marks) > 0 {
				b.ms = marks[0].Ms
			}
			p.begun[key] = b
		}
		b.text = append(b.text, piece...)
		rest, offset = rest[len(piece):], offset+int64(len(piece))
		// Without a sequence in it that may be cut in two, even a part of a line is shown at once.
		if i < 0 && (!p.raw() || bytes.IndexByte(b.text, 0x1b) >= 0) {
			break
		}
		delete(p.begun, key)
		if err := p.line(key, b); err != nil {
			return err
		}
	}
	return nil
}

// line shows a line that is complete.
func (p *logPrinter) line(key logKey, b *begunLine) error {
	to := p.to(key.stream)
	text := string(b.text)
	if p.plain(to) && strings.Contains(text, "\x1b") {
		text = ansi.Strip(text)
	}
	if p.grep != nil && !p.grep.MatchString(strings.TrimSuffix(ansi.Strip(text), "\n")) {
		return nil
	}
	p.shown = true
	at := time.UnixMilli(b.ms).UTC()
	if p.json {
		return json.NewEncoder(p.out).Encode(logEntry{at, b.attempt, key.instance, key.instance, key.stream, strings.TrimSuffix(text, "\n")})
	}
	head := ""
	if p.stamps {
		head = at.Format("2006-01-02T15:04:05.000Z ")
	}
	if p.ranks {
		head += fmt.Sprintf("[%d] ", key.instance)
	}
	_, err := io.WriteString(to, head+text)
	return err
}

// flush shows the lines that have no end, once nothing more can come of them.
func (p *logPrinter) flush() error {
	keys := slices.SortedFunc(maps.Keys(p.begun), func(a, b logKey) int { return a.instance - b.instance })
	for _, key := range keys {
		b := p.begun[key]
		delete(p.begun, key)
		if !p.raw() && !p.json {
			b.text = append(b.text, '\n')
		}
		if err := p.line(key, b); err != nil {
			return err
		}
	}
	return nil
}

// readSince reads a time, or how long ago it was.
func readSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := readAge(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	if t, err := time.ParseInLocation("15:04:05", text, now.Location()); err == nil {
		return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
	}
	return time.Time{}, muster.Errorf(muster.CodeInvalid, "--since is %q", text).WithCure("use 5m, 2h30m or 3d, a time such as 15:04:05, or 2006-01-02T15:04:05Z")
}

// readAge reads a duration, in days too.
func readAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n float64
		if _, err := fmt.Sscanf(days+"\n", "%g\n", &n); err != nil || !(n >= 0) {
			return 0, muster.Errorf(muster.CodeInvalid, "%q is no age", text)
		}
		if n > float64(longest/day) {
			return 0, errTooLarge
		}
		return time.Duration(n * float64(day)), nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d < 0:
		return 0, muster.Errorf(muster.CodeInvalid, "%q is no age", text)
	case d > longest:
		return 0, errTooLarge
	}
	return d, nil
}

// longest is the longest duration that is read, and errTooLarge what is said of
// a longer one.
const longest = 10_000 * day

var errTooLarge = muster.Errorf(muster.CodeInvalid, "it is too large").WithCure("use at most %s", span(longest))

// ageOf reads the duration that a flag says.
func ageOf(flag, text, cure string) (time.Duration, error) {
	d, err := readAge(text)
	if err == errTooLarge {
		return 0, muster.Errorf(muster.CodeInvalid, "--%s is %q, and that is too large", flag, text).WithCure("%s", errTooLarge.Cure)
	}
	if err != nil {
		return 0, muster.Errorf(muster.CodeInvalid, "--%s is %q", flag, text).WithCure("%s", cure)
	}
	return d, nil
}
