package muster

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Amount is a quantity in thousandths of its unit (core, MHz, MiB, device). Its
// methods stop at the ends of the range; they never overflow. In JSON it is a
// number of units, such as 2 or 0.5.
type Amount int64

// Whole returns the amount of n units.
func Whole(n int64) Amount {
	const most = math.MaxInt64 / 1000
	return Amount(min(max(n, -most), most) * 1000)
}

// Units returns the amount in whole units, rounded up.
func (a Amount) Units() int64 {
	if a > 0 {
		return (int64(a)-1)/1000 + 1
	}
	return int64(a) / 1000
}

// Add returns a + b.
func (a Amount) Add(b Amount) Amount {
	sum := a + b
	switch {
	case b > 0 && sum < a:
		return math.MaxInt64
	case b < 0 && sum > a:
		return math.MinInt64
	}
	return sum
}

// Sub returns a - b.
func (a Amount) Sub(b Amount) Amount {
	if b == math.MinInt64 {
		b++
	}
	return a.Add(-b)
}

// Times returns a·num/den, rounded up; den must not be 0.
func (a Amount) Times(num, den Amount) Amount {
	f := math.Ceil(float64(a) / float64(den) * float64(num))
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return Amount(f)
}

// String shows the amount in units, with the thousandths it has.
func (a Amount) String() string {
	milli, sign := uint64(a), ""
	if a < 0 {
		milli, sign = -milli, "-"
	}
	return sign + strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%03d", milli/1000, milli%1000), "0"), ".")
}

// MarshalJSON writes units.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalJSON reads units, to the nearest thousandth.
func (a *Amount) UnmarshalJSON(b []byte) error {
	units, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return Errorf(CodeInvalid, "%s is not an amount", b).WithCure("write a number, such as 2 or 0.5")
	}
	switch milli := math.Round(units * 1000); {
	case milli >= math.MaxInt64:
		*a = math.MaxInt64
	case milli <= math.MinInt64:
		*a = math.MinInt64
	default:
		*a = Amount(milli)
	}
	return nil
}

// Resources is what a node offers, or what one instance takes of it.
type Resources struct {
	MHz     Amount    `json:"mhz" doc:"Processor time in MHz." example:"4000"`
	MiB     Amount    `json:"mib" doc:"Memory in MiB." example:"8192"`
	DiskMiB Amount    `json:"disk_mib" doc:"Disk of the Nomad allocation in MiB."`
	Devices []Devices `json:"devices,omitempty"` // in the order of their ids
}

// Devices are some devices of one kind. What a node offers has vendor, type and
// name; what a run asks for has a type and perhaps a name.
type Devices struct {
	Vendor string `json:"vendor,omitempty"` // such as "nvidia"
	Type   string `json:"type"`             // such as "gpu"
	Name   string `json:"name,omitempty"`   // the model, such as "H200"
	Count  Amount `json:"count" doc:"How many." example:"2"`
}

// ID names the kind of device as Nomad does: vendor/type/name.
func (d Devices) ID() string { return d.Vendor + "/" + d.Type + "/" + d.Name }

// offers reports whether d, as a node's offer, is of the kind that ask wants. A
// model is asked for by its whole name, or by words of it: V100 is a Tesla
// V100-SXM2-16GB.
func (d Devices) offers(ask Devices) bool {
	return d.Type == ask.Type && (ask.Name == "" || isModel(d.Name, ask.Name))
}

// isModel reports whether ModelPattern of what is asked for matches a model; no
// expression is compiled for it, as it is asked for each node and run.
func isModel(model, asked string) bool {
	model, asked = strings.ToLower(model), strings.ToLower(asked)
	part := func(i int) bool {
		return i >= 0 && i < len(model) && ('a' <= model[i] && model[i] <= 'z' || '0' <= model[i] && model[i] <= '9')
	}
	for from := 0; ; {
		i := strings.Index(model[from:], asked)
		if i < 0 {
			return false
		}
		if i += from; !part(i-1) && !part(i+len(asked)) {
			return true
		}
		from = i + 1
	}
}

// ModelPattern is the regular expression of the models that a name asks for, in
// Nomad's words.
func ModelPattern(name string) string {
	return `(?i)(^|[^a-z0-9])` + regexp.QuoteMeta(name) + `([^a-z0-9]|$)`
}

// Add returns r with more on top; devices are matched by their id.
func (r Resources) Add(more Resources) Resources {
	return r.combine(more, Amount.Add)
}

// Sub returns r less other; devices are matched by their id.
func (r Resources) Sub(other Resources) Resources {
	return r.combine(other, Amount.Sub)
}

// combine applies op to each dimension.
func (r Resources) combine(o Resources, op func(a, b Amount) Amount) Resources {
	sum := Resources{MHz: op(r.MHz, o.MHz), MiB: op(r.MiB, o.MiB), DiskMiB: op(r.DiskMiB, o.DiskMiB), Devices: slices.Clone(r.Devices)}
	for _, d := range o.Devices {
		i := slices.IndexFunc(sum.Devices, func(have Devices) bool { return have.ID() == d.ID() })
		if i < 0 {
			sum.Devices = append(sum.Devices, Devices{Vendor: d.Vendor, Type: d.Type, Name: d.Name})
			i = len(sum.Devices) - 1
		}
		sum.Devices[i].Count = op(sum.Devices[i].Count, d.Count)
	}
	return sum
}

// Take takes ask out of what is free in r. A device request is served from one
// kind of device, as Nomad does it: the first with enough. ok is false, and r
// unchanged, where something is short; short then says what, with numbers.
func (r Resources) Take(ask Resources) (left Resources, short []Shortage) {
	left = Resources{MHz: r.MHz.Sub(ask.MHz), MiB: r.MiB.Sub(ask.MiB), DiskMiB: r.DiskMiB.Sub(ask.DiskMiB), Devices: slices.Clone(r.Devices)}
	for _, dim := range []Shortage{{"MHz", ask.MHz, r.MHz}, {"MiB memory", ask.MiB, r.MiB}, {"MiB disk", ask.DiskMiB, r.DiskMiB}} {
		if dim.Asked > dim.Free {
			short = append(short, dim)
		}
	}
	for _, d := range ask.Devices {
		if d.Count <= 0 {
			continue
		}
		var most Amount
		i := slices.IndexFunc(left.Devices, func(have Devices) bool {
			if have.offers(d) {
				most = max(most, have.Count)
			}
			return have.offers(d) && have.Count >= d.Count
		})
		if i < 0 {
			short = append(short, Shortage{strings.TrimSpace(d.Type + " " + d.Name), d.Count, most})
			continue
		}
		left.Devices[i].Count = left.Devices[i].Count.Sub(d.Count)
	}
	if short != nil {
		return r, short
	}
	return left, nil
}

// Bind returns ask with its devices bound to those of r that would serve it.
func (r Resources) Bind(ask Resources) Resources {
	ask.Devices = slices.Clone(ask.Devices)
	for i, d := range ask.Devices {
		for _, have := range r.Devices {
			if have.offers(d) && have.Count >= d.Count {
				ask.Devices[i] = Devices{Vendor: have.Vendor, Type: have.Type, Name: have.Name, Count: d.Count}
				break
			}
		}
	}
	return ask
}

// Shortage is one dimension in which a node has less than is asked for.
type Shortage struct {
	Dimension string `json:"dimension"` // with its unit: "MHz", "MiB memory", "gpu"
	Asked     Amount `json:"asked"`
	Free      Amount `json:"free"`
}

// String reads as "4000 MHz asked, 1200 free".
func (s Shortage) String() string {
	return fmt.Sprintf("%s %s asked, %s free", s.Asked, s.Dimension, max(s.Free, 0))
}

// ShareType is the type under which 1/parts of a device is offered: gpu-1of2.
func ShareType(kind string, parts int) string { return fmt.Sprintf("%s-1of%d", kind, parts) }
