//go:build !(linux && cgo)

package plugin

import "errors"

// noNVML stands in for NVIDIA's library where it cannot be called.
type noNVML struct{ nvidiaLibrary }

func newNVML() nvidiaLibrary { return noNVML{} }

// Open says why there is nothing to open.
func (noNVML) Open() error {
	return errors.New("this muster-device was built without cgo: build it with CGO_ENABLED=1 for NVIDIA GPUs")
}
