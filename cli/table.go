package cli

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// table collects what people read: lines, and rows whose cells are aligned.
type table struct {
	wide   bool // -o wide: there is room for more
	blocks []block
}

// block is a line of its own, or rows that are aligned together.
type block struct {
	line string
	rows [][]string
}

// gap is what stands between two columns, and narrowest how far a column that
// is too wide for the terminal is cut at most.
const (
	gap       = 2
	narrowest = 8
)

// line writes a line of its own; it takes no part in the columns around it.
func (t *table) line(format string, args ...any) {
	t.blocks = append(t.blocks, block{line: fmt.Sprintf(format, args...)})
}

// row writes the cells of a row. What a cell holds is text: it moves no cursor
// and begins no line.
func (t *table) row(cells ...string) {
	if n := len(t.blocks); n == 0 || t.blocks[n-1].rows == nil {
		t.blocks = append(t.blocks, block{})
	}
	last := &t.blocks[len(t.blocks)-1]
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = strings.ReplaceAll(ansi.Strip(cell), "\n", "⏎")
	}
	last.rows = append(last.rows, clean)
}

// text is the table as it fits a screen.
func (t *table) text(s screen) string {
	var text strings.Builder
	for _, b := range t.blocks {
		if b.rows == nil {
			text.WriteString(strings.TrimRight(b.line, " ") + "\n")
			continue
		}
		b.write(&text, s)
	}
	return text.String()
}

// write writes rows in columns.
func (b block) write(text *strings.Builder, s screen) {
	widths := b.fit(s.width)
	for i, row := range b.rows {
		line := ""
		for j, cell := range row {
			cell = ansi.Truncate(cell, widths[j], "…")
			blanks := widths[j] + gap - ansi.StringWidth(cell)
			if b.state(i, j) {
				cell = s.colour(cell)
			}
			line += cell + strings.Repeat(" ", blanks)
		}
		text.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// fit returns the width of each column. While the rows are wider than the
// screen, the widest column gives way.
func (b block) fit(screen int) []int {
	var widths []int
	for _, row := range b.rows {
		for j, cell := range row {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], ansi.StringWidth(cell))
		}
	}
	if screen <= 0 {
		return widths
	}
	total := -gap
	for _, w := range widths {
		total += w + gap
	}
	for ; total > screen; total-- {
		widest := 0
		for j, w := range widths {
			if w >= widths[widest] {
				widest = j
			}
		}
		if widths[widest] <= narrowest {
			break
		}
		widths[widest]--
	}
	return widths
}

// state reports whether a cell tells a state: one below the head STATE, or the
// one that a row called state has.
func (b block) state(row, column int) bool {
	first := b.rows[0]
	return row > 0 && column < len(first) && first[column] == "STATE" || column == 1 && b.rows[row][0] == "state"
}
