package muster_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

func TestMarks(t *testing.T) {
	marks := []muster.Mark{{Offset: 100, Ms: 1_750_000_000_000}, {Offset: 107, Ms: 1_750_000_000_000}, {Offset: 230, Ms: 1_749_999_999_000}}
	text := muster.FormatMarks(100, marks)
	if got, err := muster.ParseMarks(100, text); err != nil || !slices.Equal(got, marks) || text != "0:1750000000000,7:0,123:-1000" {
		t.Errorf("%s is %v, %v", text, got, err)
	}
	many := make([]muster.Mark, 12_345)
	for i := range many {
		many[i] = muster.Mark{Offset: int64(i), Ms: int64(i)}
	}
	if got, err := muster.ParseMarks(0, muster.FormatMarks(0, many)); err != nil || len(got) > muster.MaxMarks || len(got) < muster.MaxMarks/2 || got[1].Offset != got[1].Ms {
		t.Errorf("%d of many marks are left, %v", len(got), err)
	}
	for _, odd := range []string{"", "1:1", "x:1", "0:", "0:1,-1:1", "0:1,,", strings.Repeat("0:1,", muster.MaxMarks) + "0:1"} {
		if got, err := muster.ParseMarks(0, odd); muster.CodeOf(err) != muster.CodeInvalid {
			t.Errorf("%.20q is %v, %v", odd, got, err)
		}
	}
}
