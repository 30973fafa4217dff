package host

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
)

// Account is whose rights a command has.
type Account struct {
	Name     string
	Home     string // of the agent's own; empty for another
	UID, GID int
	Change   bool // the agent is root, and becomes this account for the command
}

// Own returns the account that the agent itself has.
func Own() Account {
	a := Account{UID: os.Geteuid(), GID: os.Getegid(), Home: os.Getenv("HOME"), Name: strconv.Itoa(os.Geteuid())}
	if me, err := user.Current(); err == nil {
		a.Name, a.Home = me.Username, me.HomeDir
	}
	return a
}

// FindAccount returns the run-as user, "" for nobody, or the agent's own where
// it is not root.
func FindAccount(runAs string) (Account, error) {
	if os.Geteuid() != 0 {
		return Own(), nil
	}
	if runAs == "" {
		runAs = "nobody"
	}
	u, err := user.Lookup(runAs)
	if err != nil {
		u, err = user.LookupId(runAs)
	}
	if err != nil && runAs == "nobody" {
		return Account{Name: runAs, UID: 65534, GID: 65534, Change: true}, nil
	}
	if err != nil {
		return Account{}, muster.Errorf(muster.CodeInvalid, "there is no user %q on this node to run the command as", runAs)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return Account{}, muster.Errorf(muster.CodeInvalid, "user %q has no numeric id", runAs)
	}
	return Account{Name: u.Username, UID: uid, GID: gid, Change: true}, nil
}

// MayPass reports whether the account may pass through a folder and all above
// it.
func (a Account) MayPass(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		var s unix.Stat_t
		if unix.Stat(dir, &s) != nil {
			return false
		}
		bit := uint32(0o001)
		switch {
		case int(s.Uid) == a.UID:
			bit = 0o100
		case int(s.Gid) == a.GID:
			bit = 0o010
		}
		if s.Mode&bit == 0 {
			return false
		}
		if dir == "/" || dir == "." {
			return true
		}
	}
}
