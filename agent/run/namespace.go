package run

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// privateVar marks an agent that has its own mount namespace already.
const privateVar = "MUSTER_AGENT_PRIVATE"

// makePrivate gives the whole agent a mount namespace of its own, so that the
// kernel takes back whatever it mounts when its processes die. It executes the
// agent anew, and returns only where that is not needed or not possible. A
// thread alone cannot do it: Go would start others beside it.
func makePrivate() error {
	if os.Geteuid() != 0 || os.Getenv(privateVar) != "" {
		return nil
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	err := unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), privateVar+"=1"))
	return fmt.Errorf("execute the agent anew: %w", err)
}

// inspect returns what this node lacks, for the claim.
func inspect(private error) (notes []string) {
	if os.Geteuid() != 0 {
		return []string{fmt.Sprintf("not root: the command runs as the agent's own user %d, without private mounts and, on cgroup v1, without a memory limit", os.Geteuid())}
	}
	if errors.Is(private, unix.EPERM) {
		return []string{"no private mounts: the kernel does not allow a mount namespace here"}
	}
	if private != nil {
		return []string{"no private mounts: " + private.Error()}
	}
	return nil
}
