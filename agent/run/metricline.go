package run

import (
	"encoding/json"
	"flag"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// LogMetric writes a line of the metrics file: metric NAME VALUE [--step N].
func LogMetric(args []string) error {
	const use = "muster-agent metric NAME VALUE [--step N]"
	flags := flag.NewFlagSet("metric", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	step := flags.Int64("step", 0, "")
	words, err := parseFlags(flags, args)
	if err != nil || len(words) != 2 || words[0] == "" {
		return muster.Errorf(muster.CodeInvalid, "this is not how a metric is logged").WithCure("%s", use)
	}
	value, err := strconv.ParseFloat(words[1], 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		return muster.Errorf(muster.CodeInvalid, "%q is not a number that can be kept", words[1]).WithCure("%s", use)
	}
	return appendMetric(map[string]any{"name": words[0], "value": value, "step": *step, "time": time.Now().UTC()})
}

// LogParam writes a line of the metrics file: param NAME VALUE.
func LogParam(args []string) error {
	words, err := parseFlags(flag.NewFlagSet("param", flag.ContinueOnError), args)
	if err != nil || len(words) != 2 || words[0] == "" {
		return muster.Errorf(muster.CodeInvalid, "this is not how a parameter is logged").WithCure("muster-agent param NAME VALUE")
	}
	return appendMetric(map[string]any{"param": words[0], "value": words[1]})
}

// parseFlags takes the flags out of args, wherever they stand; "--" ends them,
// and a number below zero is none.
func parseFlags(flags *flag.FlagSet, args []string) (words []string, err error) {
	flags.SetOutput(io.Discard)
	for len(args) > 0 {
		if args[0] == "--" {
			return append(words, args[1:]...), nil
		}
		if _, err := strconv.ParseFloat(args[0], 64); err == nil || !strings.HasPrefix(args[0], "-") {
			words, args = append(words, args[0]), args[1:]
			continue
		}
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		args = slices.Clone(flags.Args())
	}
	return words, nil
}

// appendMetric appends one line in one write, so that processes that log at the
// same time do not mix their lines.
func appendMetric(line map[string]any) error {
	name := os.Getenv("MUSTER_METRICS_FILE")
	if name == "" {
		return muster.Errorf(muster.CodeInvalid, "MUSTER_METRICS_FILE is not set").WithCure("log metrics from within a run's command")
	}
	text, err := json.Marshal(line)
	if err != nil {
		return muster.Errorf(muster.CodeInvalid, "%v", err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return muster.Errorf(muster.CodeInvalid, "the metrics file cannot be written: %v", err)
	}
	if _, err = f.Write(append(text, '\n')); err != nil {
		_ = f.Close()
		return muster.Errorf(muster.CodeInternal, "the metrics file cannot be written: %v", err)
	}
	return f.Close()
}
