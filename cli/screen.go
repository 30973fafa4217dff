package cli

import (
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

// screen is what a writer can show.
type screen struct {
	terminal bool
	width    int  // columns; 0 is no limit
	coloured bool // colours mean something on it
}

// screenOf looks at where a command writes to. What is no terminal has no
// width and no colours.
func screenOf(w io.Writer) screen {
	if f, ok := w.(*frame); ok {
		w = f.under
	}
	file, ok := w.(*os.File)
	if !ok || !isTerminal(file) {
		return screen{}
	}
	s := screen{terminal: true, coloured: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(file.Fd())); err == nil {
		s.width = width
	}
	return s
}

// colours are those of states.
var colours = map[string]ansi.BasicColor{
	"succeeded": ansi.Green, "ready": ansi.Green, "idle": ansi.Green, "ok": ansi.Green,
	"running": ansi.Cyan,
	"queued":  ansi.Yellow, "admitted": ansi.Yellow, "starting": ansi.Yellow, "preparing": ansi.Yellow, "leaving": ansi.Yellow, "warn": ansi.Yellow,
	"failed": ansi.Red, "unusable": ansi.Red, "fail": ansi.Red,
	"cancelled": ansi.Magenta,
}

// colour gives a text that begins with a state that state's colour.
func (s screen) colour(text string) string {
	word := strings.FieldsFunc(text+" ", func(r rune) bool { return r == ' ' || r == ':' || r == '…' })
	if !s.coloured || len(word) == 0 {
		return text
	}
	colour, known := colours[word[0]]
	if !known {
		return text
	}
	return ansi.NewStyle().ForegroundColor(colour).Styled(word[0]) + strings.TrimPrefix(text, word[0])
}
