package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/guptarohit/asciigraph"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// A plot's size: it is as wide as the terminal, less its axis, and shows no more
// runs than the eye can follow.
const (
	plotRuns   = 8
	plotWidth  = 72 // off a terminal
	plotHeight = 14
	axisWidth  = 14
)

// readSeries fills in the series of the first runs.
func readSeries(c *cli.Context, api *client.Client, rows []compared, metric string) error {
	logged, known := 0, map[string]bool{}
	for i := range rows {
		for name := range rows[i].Metrics {
			known[name] = true
		}
		if _, has := rows[i].Metrics[metric]; !has || logged == plotRuns {
			continue
		}
		all, err := metricsByStep(c, api, rows[i].Run, metric)
		if err != nil {
			return err
		}
		rows[i].Series = all
		logged++
	}
	if logged == 0 && len(rows) > 0 {
		var names []string
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		err := muster.Errorf(muster.CodeNotFound, "none of these runs has logged the metric %q", metric)
		if len(names) > 0 {
			return err.WithCure("%s", didYouMean(metric, names))
		}
		return err.WithCure("in a run's command: muster-agent metric NAME VALUE [--step N]")
	}
	return nil
}

// plotSeries draws the series that were read, for people.
func plotSeries(c *cli.Context, rows []compared) error {
	if o := c.String("output"); o != "table" && o != "wide" {
		return nil
	}
	var series [][]muster.Metric
	var names []string
	for _, r := range rows {
		if len(r.Series) > 0 {
			series, names = append(series, r.Series), append(names, r.Run)
		}
	}
	if len(series) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(c.App.Writer, "\n%s\n", plot(series, names, "steps", screenOf(c.App.Writer))); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// lineColours tell the lines of a plot apart on a terminal.
var lineColours = []asciigraph.AnsiColor{asciigraph.Blue, asciigraph.Red, asciigraph.Green, asciigraph.Yellow,
	asciigraph.Magenta, asciigraph.Cyan, asciigraph.White, asciigraph.Gray}

// plot draws values over their steps, which are called what over says, one line a
// series. Without colours each line is drawn with its number.
func plot(series [][]muster.Metric, names []string, over string, s screen) string {
	width := plotWidth
	if s.width > 0 {
		width = max(s.width-axisWidth, 20)
	}
	low, high := series[0][0].Step, series[0][0].Step
	for _, one := range series {
		low, high = min(low, one[0].Step), max(high, one[len(one)-1].Step)
	}
	var lines [][]float64
	for _, one := range series {
		lines = append(lines, sample(one, float64(low), float64(high), width))
	}
	options := []asciigraph.Option{asciigraph.Height(plotHeight), asciigraph.Precision(4),
		asciigraph.Caption(fmt.Sprintf("%s over %s %d to %d", series[0][0].Name, over, low, high))}
	legend := ""
	if s.coloured {
		options = append(options, asciigraph.SeriesColors(lineColours[:len(lines)]...), asciigraph.SeriesLegends(names...))
	} else if len(lines) > 1 {
		var marks []asciigraph.CharSet
		for i, name := range names {
			marks = append(marks, asciigraph.CreateCharSet(fmt.Sprint(i+1)))
			legend += fmt.Sprintf("\n%d  %s", i+1, name)
		}
		options = append(options, asciigraph.SeriesChars(marks...))
	}
	return strings.TrimRight(asciigraph.PlotMany(lines, options...), "\n") + legend
}

// sample takes n values of a series at even steps from low to high: what lies
// between two that were logged is on the line between them, and there is
// nothing before the first and after the last.
func sample(series []muster.Metric, low, high float64, n int) []float64 {
	values := make([]float64, n)
	next := 0
	for i := range values {
		step := low
		if n > 1 {
			step += (high - low) * float64(i) / float64(n-1)
		}
		for next < len(series) && float64(series[next].Step) < step {
			next++
		}
		switch {
		case next == len(series):
			values[i] = math.NaN()
		case float64(series[next].Step) == step:
			values[i] = series[next].Value
		case next == 0:
			values[i] = math.NaN()
		default:
			a, b := series[next-1], series[next]
			values[i] = a.Value + (b.Value-a.Value)*(step-float64(a.Step))/float64(b.Step-a.Step)
		}
	}
	return values
}
