package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// table collects what people read: lines, and rows whose cells are aligned.
type table struct {
	wide   bool // -o wide: there is room for more, and nothing is cut
	cut    bool // what is too long for a list's column is cut, so that each row is a line; else it goes on below
	blocks []block
}

// block is a line of its own, or rows that are aligned together.
type block struct {
	line string
	rows [][]string
}

// gap is what stands between two columns.
const gap = 2

// narrowest says how narrow columns become at most, from what still reads well to
// what is better than nothing.
var narrowest = []int{10, 8, 6, 4}

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
		if t.wide {
			s.width = 0
		}
		b.write(&text, s, t.cut)
	}
	return text.String()
}

// write writes rows in columns.
func (b block) write(text *strings.Builder, s screen, cut bool) {
	widths := b.fit(s.width)
	for i, row := range b.rows {
		cells, height := make([][]string, len(row)), 1
		for j, cell := range row {
			cells[j] = lines(cell, widths[j], cut)
			height = max(height, len(cells[j]))
		}
		for k := range height {
			line := ""
			for j := range row {
				cell := ""
				if k < len(cells[j]) {
					cell = cells[j][k]
				}
				blanks := widths[j] + gap - ansi.StringWidth(cell)
				if k == 0 && b.state(i, j) {
					cell = s.colour(cell)
				}
				line += cell + strings.Repeat(" ", blanks)
			}
			text.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
}

// lines fits a cell into its column: cut, or on several lines.
func lines(cell string, width int, cut bool) []string {
	if cut || ansi.StringWidth(cell) <= width {
		return []string{ansi.Truncate(cell, width, "…")}
	}
	return strings.Split(ansi.Wrap(cell, width, "/-"), "\n")
}

// fit returns the width of each column. While the rows are wider than the
// screen, the widest column gives way; the first, which names the row, after all
// others. Rows for which there is no room at all are left to the terminal.
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
	over, fitted := -gap-screen, slices.Clone(widths)
	for _, w := range widths {
		over += w + gap
	}
	for _, least := range narrowest {
		over = squeeze(fitted[min(1, len(fitted)-1):], over, least)
		if over = squeeze(fitted[:1], over, least); over <= 0 {
			return fitted
		}
	}
	return widths
}

// squeeze takes what is over from the widest columns, down to a least width, and
// returns what is still over.
func squeeze(widths []int, over, least int) int {
	for ; over > 0; over-- {
		widest := 0
		for j, w := range widths {
			if w >= widths[widest] {
				widest = j
			}
		}
		if widths[widest] <= least {
			break
		}
		widths[widest]--
	}
	return over
}

// state reports whether a cell tells a state: one below the head STATE, or the
// one that a row called state has.
func (b block) state(row, column int) bool {
	first := b.rows[0]
	return row > 0 && column < len(first) && first[column] == "STATE" || column == 1 && b.rows[row][0] == "state"
}
