package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// table writes what people read: lines, and rows whose cells are aligned.
type table struct{ w *tabwriter.Writer }

// line writes a line of its own.
func (t *table) line(format string, args ...any) {
	t.w.Flush() // so that it takes no part in the columns around it
	fmt.Fprintf(t.w, format+"\n", args...)
	t.w.Flush()
}

// row writes the cells of a row.
func (t *table) row(cells ...string) {
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// show writes v as JSON, or as the table that draw makes, as the user wants.
func show(c *cli.Context, v any, draw func(t *table)) error {
	if c.String("output") == "json" {
		return writeJSON(c.App.Writer, v)
	}
	var text strings.Builder
	t := &table{tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)}
	draw(t)
	t.w.Flush()
	for line := range strings.Lines(text.String()) {
		// an empty cell at the end still aligns its column, and leaves blanks
		if _, err := io.WriteString(c.App.Writer, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// writeJSON writes v as indented JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// list writes items as JSON, or as a table under a head; an empty one says what
// to do next.
func list[T any](c *cli.Context, items []T, l listing[T]) error {
	if items == nil {
		items = []T{}
	}
	return show(c, items, func(t *table) {
		if len(items) == 0 {
			t.line("%s", l.empty)
			return
		}
		t.row(l.head...)
		for _, item := range items {
			t.row(l.row(item)...)
		}
	})
}

// listAll is a verb without arguments that lists what fetch returns.
func listAll[T any](c *cli.Context, fetch func(api *client.Client) ([]T, error), l listing[T]) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	all, err := fetch(api)
	if err != nil {
		return err
	}
	return list(c, all, l)
}

// showOne is a verb with the name of one thing, which it shows.
func showOne[T any](c *cli.Context, fetch func(api *client.Client, name string) (T, error), draw func(t *table, v T)) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	v, err := fetch(api, args[0])
	if err != nil {
		return err
	}
	return show(c, v, func(t *table) { draw(t, v) })
}

// listing says how items look in a table.
type listing[T any] struct {
	head  []string
	row   func(T) []string
	empty string
}

// ago shows how long ago something was.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return length(time.Since(t)) + " ago"
}

// length shows a duration with two of its units.
func length(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// lasted shows how long something took, or has taken so far.
func lasted(from, to time.Time) string {
	if from.IsZero() {
		return "-"
	}
	if to.IsZero() {
		to = time.Now()
	}
	return length(to.Sub(from))
}

// clock shows a time of today, or an older one with its date.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	t = t.Local()
	if time.Since(t) < 18*time.Hour {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// number shows a number with as many digits as say something.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e9 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 5, 64)
}

// bytesOf shows a number of bytes.
func bytesOf(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v /= 1024; v < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// count shows a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// gpus counts the devices of type gpu.
func gpus(r muster.Resources) (n muster.Amount) {
	for _, d := range r.Devices {
		if d.Type == "gpu" {
			n = n.Add(d.Count)
		}
	}
	return n
}

// shorten cuts a text that is too long for a column.
func shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// orDash shows that nothing stands in a cell.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
