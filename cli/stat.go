package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// statSeries is what is kept of one statistic of an instance, and what it comes
// to.
type statSeries struct {
	Name     string      `json:"name"`
	Unit     string      `json:"unit"`
	Attempt  int         `json:"attempt"`
	Instance int         `json:"instance"`
	Last     float64     `json:"last"`
	Mean     float64     `json:"mean"`
	Max      float64     `json:"max"`
	Samples  []statPoint `json:"samples"` // by time
}

// statPoint is one value of a series.
type statPoint struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// statFlags are those of run stats.
func statFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "only the statistics of this `NAME`, or all that begin with it up to a dot: cpu, memory, node_cpu, gpu"},
		&cli.IntFlag{Name: "attempt", Usage: "`NUMBER` of the attempt (default: the last that has any)"},
		&cli.IntFlag{Name: "instance", Aliases: []string{"rank"}, Usage: "`NUMBER` of the instance, from 0 (default: all)"},
		&cli.BoolFlag{Name: "plot", Usage: "also plot each statistic over the time"},
	}
}

// statListing is how series look in a table.
var statListing = listing[*statSeries]{
	head: []string{"NAME", "INSTANCE", "LAST", "MEAN", "MAX", "UNIT", "OVER TIME"},
	row: func(s *statSeries) []string {
		return []string{s.Name, fmt.Sprint(s.Instance), number(s.Last), number(s.Mean), number(s.Max), orDash(s.Unit), trend(s.Samples)}
	},
	wide: []string{"ATTEMPT", "SAMPLES", "FROM", "TO"},
	more: func(s *statSeries) []string {
		return []string{fmt.Sprint(s.Attempt), fmt.Sprint(len(s.Samples)), clock(s.Samples[0].At), clock(s.Samples[len(s.Samples)-1].At)}
	},
	empty: "Nothing is known of what the run used: its command has not begun, or took no time.",
}

// statsOfRun shows what a run, its nodes and its devices used.
func statsOfRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	q := muster.StatQuery{Name: c.String("name"), Attempt: c.Int("attempt"), Instance: muster.AllInstances}
	if c.IsSet("instance") {
		q.Instance = c.Int("instance")
	}
	for _, flag := range []string{"attempt", "instance"} {
		if c.Int(flag) < 0 {
			return muster.Errorf(muster.CodeInvalid, "--%s is %d", flag, c.Int(flag)).WithCure("use 0 or more")
		}
	}
	stats, err := o.api.Stats(c.Context, o.workspace, o.name, q)
	if err != nil {
		return err
	}
	if len(stats) == 0 && q.Name != "" {
		return muster.Errorf(muster.CodeNotFound, "run %s has no statistics of the name %s", o.name, q.Name).WithCure("muster run stats %s shows all", o.name)
	}
	if q.Name == "" && len(stats) > 0 && !slices.ContainsFunc(stats, func(s muster.Stat) bool { return s.Name == "cpu" }) {
		fmt.Fprintln(c.App.ErrWriter, "note: cpu and memory are measured only where the Nomad client of the node has telemetry { publish_allocation_metrics = true }")
	}
	series, err := pick(c, seriesOf(stats), statListing) // those that are plotted too
	if err != nil {
		return err
	}
	if err := list(c, series, statListing); err != nil {
		return err
	}
	return plotStats(c, series)
}

// seriesOf puts samples that are sorted by name and instance into series.
func seriesOf(stats []muster.Stat) (all []*statSeries) {
	for _, s := range stats {
		n := len(all)
		if n == 0 || all[n-1].Name != s.Name || all[n-1].Instance != s.Instance {
			all, n = append(all, &statSeries{Name: s.Name, Unit: s.Unit, Attempt: s.Attempt, Instance: s.Instance, Max: s.Value}), n+1
		}
		last := all[n-1]
		last.Samples = append(last.Samples, statPoint{s.At, s.Value})
		last.Last, last.Max = s.Value, max(last.Max, s.Value)
		last.Mean += (s.Value - last.Mean) / float64(len(last.Samples))
	}
	return all
}

// trendWidth is how many characters a trend has at most.
const trendWidth = 24

// trend draws a series in one line, from its lowest to its highest value: each
// character is the mean of its share of the samples.
func trend(samples []statPoint) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	width := min(trendWidth, len(samples))
	means := make([]float64, width)
	var low, high float64
	for i := range means {
		from, to := i*len(samples)/width, (i+1)*len(samples)/width
		for _, s := range samples[from:to] {
			means[i] += s.Value / float64(to-from)
		}
		if i == 0 {
			low, high = means[0], means[0]
		}
		low, high = min(low, means[i]), max(high, means[i])
	}
	var line strings.Builder
	for _, v := range means {
		bar := 0
		if high > low {
			bar = int((v - low) / (high - low) * float64(len(bars)-1))
		}
		line.WriteRune(bars[bar])
	}
	return line.String()
}

// plotStats draws each statistic, for people who want it: one line an instance.
func plotStats(c *cli.Context, all []*statSeries) error {
	if o := c.String("output"); !c.Bool("plot") || o != "table" && o != "wide" {
		return nil
	}
	byName := map[string][]*statSeries{}
	for _, s := range all {
		byName[s.Name] = append(byName[s.Name], s)
	}
	for _, s := range all {
		group := byName[s.Name]
		if s != group[0] {
			continue
		}
		var lines [][]muster.Metric
		var names []string
		for _, one := range group[:min(len(group), plotRuns)] {
			lines, names = append(lines, overSeconds(one, begin(group))), append(names, fmt.Sprint("instance ", one.Instance))
		}
		if _, err := fmt.Fprintf(c.App.Writer, "\n%s\n", plot(lines, names, "seconds", screenOf(c.App.Writer))); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// begin is the time of the first sample of all.
func begin(all []*statSeries) time.Time {
	first := all[0].Samples[0].At
	for _, s := range all {
		if s.Samples[0].At.Before(first) {
			first = s.Samples[0].At
		}
	}
	return first
}

// overSeconds puts a series over the seconds since a moment.
func overSeconds(s *statSeries, since time.Time) (line []muster.Metric) {
	name := s.Name
	if s.Unit != "" {
		name += " in " + s.Unit
	}
	for _, p := range s.Samples {
		line = append(line, muster.Metric{Name: name, Step: int64(p.At.Sub(since).Seconds()), Value: p.Value})
	}
	return line
}
