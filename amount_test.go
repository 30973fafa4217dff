package muster

import (
	"encoding/json"
	"math"
	"regexp"
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

// TestModels holds that a model is matched by its name or by words of it, and the
// same here and by the expression that Nomad is given.
func TestModels(t *testing.T) {
	for _, c := range []struct {
		model, asked string
		want         bool
	}{
		{"Tesla V100-SXM2-16GB", "V100", true},
		{"Tesla V100-SXM2-16GB", "v100-sxm2", true},
		{"NVIDIA A100-SXM4-40GB", "A100", true},
		{"NVIDIA A100-SXM4-40GB", "A10", false},
		{"NVIDIA A10", "A10", true},
		{"K80", "k80", true},
		{"K80", "K8", false},
		{"A10A10 A10", "A10", true},
		{"RTX A4000 (16G)", "RTX A4000 (16G)", true},
		{"H100", "H200", false},
	} {
		by, err := regexp.MatchString(ModelPattern(c.asked), c.model)
		if got := isModel(c.model, c.asked); got != c.want || by != c.want || err != nil {
			t.Errorf("%s of %s: %v, by the expression %v %v", c.asked, c.model, got, by, err)
		}
	}
}

// TestShares holds which parts of a GPU can be asked for.
func TestShares(t *testing.T) {
	for milli, want := range map[Amount]int{500: 2, 333: 3, 334: 3, 250: 4, 143: 7, 100: 10, 16: 63, 15: -1, 400: -1, 750: -1, 1500: -1, 1000: 0, 2000: 0, 0: 0} {
		g := Group{Name: "main", Count: 1, Ask: &Ask{Cores: Whole(1), MiB: Whole(100), GPUs: milli}}
		err := g.validate()
		if (want < 0) != (err != nil) || err == nil && g.Ask.Share() != want {
			t.Errorf("%s gpus: share %d, %v; want %d", milli, g.Ask.Share(), err, want)
		}
	}
	need := Group{Ask: &Ask{Cores: Whole(1), MiB: Whole(100), GPUs: 500, GPUModel: "V100"}}.Need(Allocatable{Cores: Whole(1), Resources: Resources{MHz: Whole(1)}})
	if d := need.Devices[0]; d.Type != "gpu-1of2" || d.Count != Whole(1) || d.Name != "V100" {
		t.Errorf("half a GPU is %+v", d)
	}
}
