package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
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

// span shows a duration that somebody chose, as he would write it: 90d, 12h.
func span(d time.Duration) string {
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if whole, ok := strings.CutSuffix(text, "m0s"); ok {
		text = whole + "m"
	}
	if whole, ok := strings.CutSuffix(text, "h0m"); ok {
		text = whole + "h"
	}
	return text
}

// lately is ago for what is looked at only now and then.
func lately(t time.Time) string {
	if !t.IsZero() && time.Since(t) < time.Minute {
		return "just now"
	}
	return ago(t)
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
	return muster.Counted(n, thing)
}

// countAmount shows an amount of things: 1 core, 0.5 cores.
func countAmount(a muster.Amount, thing string) string {
	if a == muster.Whole(1) {
		return "1 " + thing
	}
	return fmt.Sprintf("%s %ss", a, thing)
}

// gpus counts the devices of type gpu, and shares of them as parts of one.
func gpus(r muster.Resources) (n muster.Amount) {
	for _, d := range r.Devices {
		parts := int64(1)
		if _, err := fmt.Sscanf(d.Type, "gpu-1of%d", &parts); (err == nil || d.Type == "gpu") && parts > 0 {
			n = n.Add(d.Count / muster.Amount(parts))
		}
	}
	return n
}

// stateWords tells a state with its reason, and what the reason says already only
// once: cancelled by the user.
func stateWords(state, reason string) string {
	if reason == state || strings.HasPrefix(reason, state+" ") {
		return reason
	}
	return strings.TrimSuffix(state+": "+reason, ": ")
}

// orDash shows that nothing stands in a cell.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
