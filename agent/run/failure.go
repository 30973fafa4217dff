package run

import (
	"errors"
	"fmt"

	"github.com/muster-ml/muster"
)

// failure is why a run's instance ends badly, and whose fault that is. Its text
// is for the run's owner.
type failure struct {
	fault muster.Fault
	text  string
}

// Error returns the text.
func (f *failure) Error() string { return f.text }

// Unwrap returns an error of a code that says that no later try cures it.
func (f *failure) Unwrap() error { return muster.Errorf(muster.CodeRefused, "%s", f.text) }

// failed makes a failure.
func failed(fault muster.Fault, format string, args ...any) *failure {
	return &failure{fault, fmt.Sprintf(format, args...)}
}

// Why a run ends before its time, other than by an order to stop.
var errOver = errors.New("the server wants no more of this instance")

// asFailure finds out whose fault an error is: what is no failure yet is the
// platform's.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if diskFull(err) {
		return failed(muster.FaultPlatform, "the node's disk is full: %v", err)
	}
	return failed(muster.FaultPlatform, "%v", err)
}
