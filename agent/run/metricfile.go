package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
)

// The bounds of the metrics file.
const (
	maxLine   = 64 << 10 // bytes
	maxName   = 250      // bytes of a name
	maxValue  = 8 << 10  // bytes of a parameter
	tailEvery = time.Second
)

// metricFile is the file of JSON lines that the command logs to. It is held
// open from before the command: what the command does to its name does not
// matter.
type metricFile struct {
	file   *os.File
	send   func(ctx context.Context, metrics []muster.Metric, params []muster.Parameter) error
	note   func(string)
	offset int64
	line   int    // number of the last whole line
	rest   []byte // behind it
	long   bool   // rest is the end of a line that is too long
}

// openMetrics makes the file.
func openMetrics(f *folder) (*os.File, error) {
	name := f.path(partMetrics)
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make metrics file: %w", err)
	}
	if err := f.own(name, true, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make metrics file: %w", err), file.Close())
	}
	return file, nil
}

// tail sends what is logged, each second, until the command has ended; then it
// sends the rest.
func (m *metricFile) tail(ctx context.Context, ended <-chan struct{}) error {
	defer m.file.Close()
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-tick.C:
		case <-ended:
			last = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := m.readOn(ctx, last); err != nil || last {
			return err
		}
	}
}

// readOn sends what was written since the last time, in batches.
func (m *metricFile) readOn(ctx context.Context, last bool) error {
	buffer := make([]byte, 64<<10)
	var b metricBatch
	for {
		n, err := m.file.ReadAt(buffer, m.offset)
		m.offset += int64(n)
		m.split(buffer[:n], &b)
		done := n == 0 || err != nil && err != io.EOF
		if done && last && len(m.rest) > 0 {
			m.split([]byte("\n"), &b)
		}
		if b.size() > 0 && (done || b.size() >= ship.MaxBatch) {
			if err := m.flush(ctx, &b); err != nil {
				return err
			}
		}
		if done {
			return nil
		}
	}
}

// flush sends a batch in pieces that the server takes. One that it refuses is
// told of, and does not end the run.
func (m *metricFile) flush(ctx context.Context, b *metricBatch) error {
	for b.size() > 0 {
		n := min(len(b.metrics), ship.MaxBatch)
		k := min(len(b.params), ship.MaxBatch)
		err := m.send(ctx, b.metrics[:n], b.params[:k])
		switch code := muster.CodeOf(err); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case code == muster.CodeForbidden || code == muster.CodeConflict:
			return err
		case err != nil:
			m.note(fmt.Sprintf("%d metrics are not kept: %v", n+k, err))
		}
		b.metrics, b.params = b.metrics[n:], b.params[k:]
	}
	return nil
}

// metricBatch gathers what the lines say.
type metricBatch struct {
	metrics []muster.Metric
	params  []muster.Parameter
}

// size returns how many metrics and parameters there are.
func (b *metricBatch) size() int { return len(b.metrics) + len(b.params) }

// split reads whole lines; what is behind the last one waits for its end.
func (m *metricFile) split(data []byte, b *metricBatch) {
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			break
		}
		line := append(m.rest, data[:end]...)
		data, m.rest = data[end+1:], nil
		m.line++
		if m.long || len(line) > maxLine {
			m.long = false
			m.bad(fmt.Sprintf("it is longer than %d bytes", maxLine))
			continue
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if err := b.parse(line); err != nil {
				m.bad(err.Error())
			}
		}
	}
	if m.rest = append(m.rest, data...); len(m.rest) > maxLine {
		m.rest, m.long = m.rest[:0], true
	}
}

// bad tells of a line that is not kept.
func (m *metricFile) bad(why string) {
	m.note(fmt.Sprintf("line %d of the metrics file is not kept: %s", m.line, why))
}

// metricLine is a line of the metrics file: a metric or a parameter.
type metricLine struct {
	Name  *string         `json:"name"`
	Param *string         `json:"param"`
	Value json.RawMessage `json:"value"`
	Step  *float64        `json:"step"`
	Time  json.RawMessage `json:"time"`
}

// parse adds what one line says.
func (b *metricBatch) parse(text []byte) error {
	var l metricLine
	if err := json.Unmarshal(text, &l); err != nil {
		if s := string(text); strings.Contains(s, "NaN") || strings.Contains(s, "Infinity") {
			return errors.New("NaN and Infinity are not numbers that can be kept")
		}
		return fmt.Errorf("it is not JSON: %v", err)
	}
	name := l.Name
	if name == nil {
		name = l.Param
	}
	switch {
	case name == nil || l.Name != nil && l.Param != nil:
		return errors.New(`it needs either "name" or "param"`)
	case *name == "" || len(*name) > maxName:
		return fmt.Errorf("a name has 1 to %d bytes", maxName)
	case len(l.Value) == 0:
		return errors.New(`it has no "value"`)
	case l.Param != nil:
		return b.parseParam(*name, l.Value)
	}
	return b.parseMetric(*name, &l)
}

// parseParam adds a parameter; what is no string is kept as it is written.
func (b *metricBatch) parseParam(name string, value json.RawMessage) error {
	text := string(value)
	if value[0] == '"' {
		if err := json.Unmarshal(value, &text); err != nil {
			return err
		}
	}
	if len(text) > maxValue {
		return fmt.Errorf("the value of parameter %q is longer than %d bytes", name, maxValue)
	}
	b.params = append(b.params, muster.Parameter{Name: name, Value: text})
	return nil
}

// parseMetric adds a metric; step 0 and now are meant where it names none.
func (b *metricBatch) parseMetric(name string, l *metricLine) error {
	m := muster.Metric{Name: name, Time: time.Now().UTC()}
	if err := json.Unmarshal(l.Value, &m.Value); err != nil || string(l.Value) == "null" {
		return fmt.Errorf("the value of %q is not a number", name)
	}
	if l.Step != nil {
		if *l.Step != math.Trunc(*l.Step) || math.Abs(*l.Step) > 1<<53 {
			return fmt.Errorf("the step of %q is not a whole number", name)
		}
		m.Step = int64(*l.Step)
	}
	if len(l.Time) > 0 && string(l.Time) != "null" {
		var seconds float64
		if json.Unmarshal(l.Time, &m.Time) != nil {
			if json.Unmarshal(l.Time, &seconds) != nil || math.Abs(seconds) > 1e11 {
				return fmt.Errorf("the time of %q is neither RFC 3339 nor seconds since 1970", name)
			}
			m.Time = time.UnixMicro(int64(seconds * 1e6)).UTC()
		}
	}
	b.metrics = append(b.metrics, m)
	return nil
}
