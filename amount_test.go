package muster

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestAmountJSON(t *testing.T) {
	for amount, want := range map[Amount]string{
		0: "0", 1: "0.001", 500: "0.5", 2000: "2", 1250: "1.25", -1500: "-1.5", -1: "-0.001",
		Whole(512_000): "512000", math.MaxInt64: "9223372036854775.807",
	} {
		b, err := json.Marshal(amount)
		if err != nil || string(b) != want {
			t.Errorf("%d thousandths are written %s, %v; want %s", amount, b, err, want)
		}
		var back Amount
		if err := json.Unmarshal([]byte(want), &back); err != nil || back != amount {
			t.Errorf("%s is read as %d, %v; want %d", want, back, err, amount)
		}
	}
	for text, want := range map[string]Amount{"1e3": 1_000_000, "0.0004": 0, "0.0006": 1, "1e300": math.MaxInt64, "-1e300": math.MinInt64} {
		var got Amount
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is read as %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{`"2"`, `true`, `{}`, `1e999`} {
		var got Amount
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is read as %d", text, got)
		}
	}
}

// TestAmountJSONIsExact proves that no thousandth is lost on the way, for
// amounts of a trillion units and less.
func TestAmountJSONIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 1e15
		a := Amount(rapid.Int64Range(-most, most).Draw(t, "amount"))
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Amount
		if err := json.Unmarshal(b, &back); err != nil || back != a {
			t.Fatalf("%d is written %s and read as %d, %v", a, b, back, err)
		}
	})
}

// TestAmountsNeverOverflow proves that sums stop at the ends of the range.
func TestAmountsNeverOverflow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := Amount(rapid.Int64().Draw(t, "a")), Amount(rapid.Int64Min(0).Draw(t, "b"))
		if a.Add(b) < a || a.Sub(b) > a {
			t.Fatalf("%d + %d = %d, and - is %d", a, b, a.Add(b), a.Sub(b))
		}
		if c := a.Sub(-b); c < a {
			t.Fatalf("%d - -%d = %d", a, b, c)
		}
		if n := Whole(int64(a)); a > 0 && n < 0 || a < 0 && n > 0 {
			t.Fatalf("%d whole units are %d", a, n)
		}
		if u := a.Units(); a > 0 && a < math.MaxInt64/1000*1000 && Whole(u) < a {
			t.Fatalf("%d thousandths are %d units: too few", a, u)
		}
	})
}

func TestTake(t *testing.T) {
	node := Resources{MHz: Whole(4000), MiB: Whole(8000), DiskMiB: Whole(100), Devices: []Devices{
		{Vendor: "nvidia", Type: "gpu", Name: "K80", Count: Whole(1)}, {Vendor: "nvidia", Type: "gpu", Name: "V100", Count: Whole(2)}}}
	gpus := func(n int64, model string) []Devices { return []Devices{{Type: "gpu", Name: model, Count: Whole(n)}} }
	for _, c := range []struct {
		name  string
		ask   Resources
		short string // the first shortage; "" where it fits
	}{
		{"all of it", Resources{MHz: Whole(4000), MiB: Whole(8000), DiskMiB: Whole(100)}, ""},
		{"a thousandth too much", Resources{MHz: Whole(4000) + 1}, "4000.001 MHz asked, 4000 free"},
		{"memory", Resources{MiB: Whole(8001)}, "8001 MiB memory asked, 8000 free"},
		{"any two gpus", Resources{Devices: gpus(2, "")}, ""},
		{"a model in other letters", Resources{Devices: gpus(1, "k80")}, ""},
		{"two of one kind only", Resources{Devices: gpus(3, "")}, "3 gpu asked, 2 free"},
		{"a model that is not there", Resources{Devices: gpus(1, "H200")}, "1 gpu H200 asked, 0 free"},
		{"none", Resources{Devices: gpus(0, "H200")}, ""},
	} {
		left, short := node.Take(c.ask)
		got := ""
		if len(short) > 0 {
			got = short[0].String()
		}
		if got != c.short {
			t.Errorf("%s: %q, want %q", c.name, got, c.short)
		}
		if short != nil && left.MHz != node.MHz {
			t.Errorf("%s: something was taken though it does not fit: %+v", c.name, left)
		}
	}
	left, _ := node.Take(Resources{Devices: gpus(2, "")})
	if left.Devices[1].Count != 0 || left.Devices[0].Count != Whole(1) || node.Devices[1].Count != Whole(2) {
		t.Errorf("two gpus of %+v leave %+v", node.Devices, left.Devices)
	}
}
