package cli

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/muster-ml/muster"
)

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
