package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
)

// maxLog is how much of the log of one try is kept. The spool holds that much,
// so that no set-up waits for a server.
const maxLog = 64 << 20

// setUpLog is the log of one try of a set-up.
type setUpLog struct {
	id      string
	spool   *ship.Spool
	left    int               // how much may still be written
	open    bool              // the last line has no end yet
	hide    *strings.Replacer // of secrets
	shipped chan struct{}
}

// strange is what may not stand in the id of a log.
var strange = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// logID names the log of a try. No two of them have the same name.
func logID(boot, generation string, n int, began time.Time) string {
	kernel, own, _ := strings.Cut(boot, "/")
	if own == "" {
		own = "0"
	}
	return strange.ReplaceAllString(fmt.Sprintf("%.8s-%.32s-%.32s-%d-%d", kernel, own, generation, n, began.UnixMilli()), "_")
}

// openLog begins to ship a log, until it is closed or the agent ends.
func (a *agent) openLog(ctx context.Context, id string) (*setUpLog, error) {
	dir := filepath.Join(a.dir, "log-"+id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	l := &setUpLog{id: id, spool: ship.NewSpool(dir, 2*maxLog, func() {}), left: maxLog, shipped: make(chan struct{})}
	log := &ship.Log{Name: "log of the set-up", Spool: l.spool, Put: func(ctx context.Context, offset int64, chunk []byte, _ []muster.Mark) (int64, error) {
		return a.client.PutNodeChunk(ctx, id, offset, chunk)
	}}
	ctx = context.WithoutCancel(ctx) // the next set-up is no reason to lose the log of this one
	go func() {
		defer close(l.shipped)
		err := log.Ship(ctx)
		switch {
		case refused(err):
			a.end(err)
		case err != nil:
			a.log.Warn("the log of the set-up is not kept", "error", err)
		}
		_ = os.RemoveAll(dir) // the next agent removes it, too
	}()
	return l, nil
}

// Write keeps as much as may be kept. A log that cannot be kept does not end the
// set-up.
func (l *setUpLog) Write(p []byte) (int, error) {
	whole := len(p)
	if l.hide != nil {
		p = []byte(l.hide.Replace(string(p)))
	}
	if kept := p[:min(len(p), l.left)]; len(kept) > 0 {
		_, _ = l.spool.Write(kept)
		l.open = kept[len(kept)-1] != '\n'
		if l.left -= len(kept); l.left == 0 {
			l.say("the rest is not kept: a log may have %d MiB", maxLog>>20)
		}
	}
	return whole, nil
}

// shortest is the length of a secret that is found in what a set-up writes: a
// shorter one would be found everywhere.
const shortest = 4

// hidden replaces secrets, where they are written in one piece.
func hidden(secrets map[string]string) *strings.Replacer {
	var pairs []string
	for _, value := range secrets {
		if len(value) >= shortest {
			pairs = append(pairs, value, "(hidden)")
		}
	}
	return strings.NewReplacer(pairs...)
}

// say writes a line of the agent's own.
func (l *setUpLog) say(format string, args ...any) {
	line := "== " + fmt.Sprintf(format, args...) + "\n"
	if l.open {
		line = "\n" + line
	}
	l.open = false
	_, _ = l.spool.Write([]byte(line))
}

// close ends the log, and waits a while until all of it is kept: less at the
// agent's end.
func (l *setUpLog) close(ctx context.Context, patience time.Duration) {
	l.spool.Close()
	over := time.After(patience)
	select {
	case <-l.shipped:
		return
	case <-over:
		return
	case <-ctx.Done():
	}
	select {
	case <-l.shipped:
	case <-time.After(leaveTime / 2):
	}
}

// maxLine is how much of a line is shown in a reason.
const maxLine = 200

// lastLine keeps the last line that is not blank of what is written to it.
type lastLine struct {
	line string
	open []byte // the beginning of the one that has no end yet
	hide *strings.Replacer
}

// Write reads on.
func (l *lastLine) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\r\n")
		part := rest
		if i >= 0 {
			part = rest[:i]
		}
		l.open = append(l.open, part[:min(len(part), max(0, 4*maxLine-len(l.open)))]...)
		if i < 0 {
			break
		}
		l.line, l.open, rest = l.String(), l.open[:0], rest[i+1:]
	}
	return len(p), nil
}

// String returns the line, as far as it can be shown.
func (l *lastLine) String() string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(l.open), ""))
	text = strings.TrimSpace(text)
	if text == "" {
		return l.line
	}
	if l.hide != nil {
		text = l.hide.Replace(text)
	}
	if all := []rune(text); len(all) > maxLine {
		text = string(all[:maxLine])
	}
	return text
}

// short shows a time limit, 15m and not 15m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
