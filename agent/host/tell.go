package host

import (
	"fmt"
	"os"

	"github.com/muster-ml/muster"
)

// Told shows an error to whoever called the agent, and returns its exit code.
func Told(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "muster-agent:", err)
	return muster.CodeOf(err).ExitCode()
}
