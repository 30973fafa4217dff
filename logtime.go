package muster

import (
	"fmt"
	"strconv"
	"strings"
)

// Mark says when a piece of a log was written: the bytes from Offset on, up to
// the next mark.
type Mark struct {
	Offset int64 `json:"offset"` // in the log, in bytes
	Ms     int64 `json:"ms"`     // since 1970, by the node's clock
}

// ChunkTimesHeader carries the marks of a log chunk, as FormatMarks writes them.
const ChunkTimesHeader = "Muster-Chunk-Times"

// MaxMarks is the most marks of one chunk; where a command writes so often that
// there would be more, each stands for several writes.
const MaxMarks = 1000

// FormatMarks writes the marks of the chunk that begins at offset, each as
// offset:milliseconds, both counted from the one before.
func FormatMarks(offset int64, marks []Mark) string {
	var text strings.Builder
	each := (len(marks) + MaxMarks - 1) / MaxMarks
	at, ms := offset, int64(0)
	for i, m := range marks {
		if i%max(each, 1) != 0 {
			continue
		}
		fmt.Fprintf(&text, "%d:%d,", m.Offset-at, m.Ms-ms)
		at, ms = m.Offset, m.Ms
	}
	return strings.TrimSuffix(text.String(), ",")
}

// ParseMarks reads what FormatMarks wrote. Marks that go backwards, or do not
// begin with the chunk, are CodeInvalid.
func ParseMarks(offset int64, text string) ([]Mark, error) {
	var marks []Mark
	at, ms := offset, int64(0)
	for pair := range strings.SplitSeq(text, ",") {
		ahead, later, _ := strings.Cut(pair, ":")
		bytes, err := strconv.ParseInt(ahead, 10, 64)
		passed, err2 := strconv.ParseInt(later, 10, 64)
		if at, ms = at+bytes, ms+passed; err != nil || err2 != nil || bytes < 0 || len(marks) == MaxMarks || len(marks) == 0 && bytes != 0 {
			return nil, Errorf(CodeInvalid, "%.40q are no times of a log chunk", text)
		}
		marks = append(marks, Mark{at, ms})
	}
	return marks, nil
}
