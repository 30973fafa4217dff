package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	device "github.com/hashicorp/nomad/plugins/device/proto"
)

// nvidiaLibrary is what is asked of NVIDIA's management library.
type nvidiaLibrary interface {
	// Open connects to the driver.
	Open() error
	// Cards returns the GPUs that answer, and those that answer with an error.
	Cards() ([]nvidiaCard, error)
	// Sample returns what the GPU or slice of that UUID is doing.
	Sample(uuid string) ([]reading, error)
	// Faults tells of each XID that the driver reports, until stop is closed.
	Faults(stop <-chan struct{}, tell func(uuid string, xid uint64)) error
	// Close lets go of the driver.
	Close()
}

// What is wrong with a library or GPU that says nothing itself.
var (
	errSilent = fmt.Errorf("the driver has not answered for %s", patience)
	errClosed = errors.New("the driver was let go")
	errLost   = errors.New("it is lost from the bus: the driver does not list it any more")
)

// patience is how long the library may take.
const patience = 5 * time.Second

// harmlessXIDs are reported for what a program did, not for what the GPU has.
var harmlessXIDs = []uint64{13, 31, 43, 45, 68, 109}

// nvidia finds NVIDIA's GPUs, and what is wrong with them.
type nvidia struct {
	log     hclog.Logger
	library nvidiaLibrary
	ignore  []string
	changed func() // asks for another look

	using  sync.RWMutex  // the library is closed when nobody is in it
	opened bool          // it is open
	broken bool          // it must be opened anew
	said   string        // what was last logged of the library
	asking chan answer   // of a call that has not come back; nil for none
	known  []nvidiaCard  // all that were ever seen
	stop   chan struct{} // ends the watch for faults
	ended  chan struct{} // it has ended

	mu   sync.Mutex
	xids map[string]uint64 // the last that did harm, by UUID
}

// answer is one of the library.
type answer struct {
	cards []nvidiaCard
	err   error
}

func (n *nvidia) devices() (all []found) {
	cards, err := n.cards()
	n.say(err)
	for i := range n.known {
		if err != nil {
			n.known[i].Trouble = err
		}
	}
	if err == nil {
		n.known = recall(n.known, cards)
	}
	for _, c := range n.known {
		all = append(all, n.found(c)...)
	}
	return all
}

// say logs once what is the matter with the library.
func (n *nvidia) say(err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	if now != n.said && now != "" {
		n.log.Info("no NVIDIA GPUs can be offered", "reason", now)
	}
	n.said = now
}

// cards asks the library, but not longer than its patience: a driver in trouble
// may never answer.
func (n *nvidia) cards() ([]nvidiaCard, error) {
	if n.asking == nil {
		if err := n.ready(); err != nil {
			return nil, err
		}
		asking := make(chan answer, 1)
		n.asking = asking
		go func() { asking <- n.ask() }()
	}
	select {
	case a := <-n.asking:
		n.asking, n.broken = nil, a.err != nil
		return a.cards, a.err
	case <-time.After(patience):
		return nil, errSilent
	}
}

// ask asks the library, and is out of it when it returns.
func (n *nvidia) ask() answer {
	n.using.RLock()
	defer n.using.RUnlock()
	if !n.opened {
		return answer{err: errClosed}
	}
	cards, err := n.library.Cards()
	return answer{cards, err}
}

// ready opens the library where it is not open, or not of use any more.
func (n *nvidia) ready() error {
	if n.opened && !n.broken {
		return nil
	}
	n.quiet()
	if !n.alone() {
		return errSilent
	}
	defer n.using.Unlock()
	if n.opened {
		n.library.Close()
		n.opened = false
	}
	if err := n.library.Open(); err != nil {
		return err
	}
	n.opened, n.broken = true, false
	n.stop, n.ended = make(chan struct{}), make(chan struct{})
	go n.watch(n.stop, n.ended)
	return nil
}

// alone waits until nobody is in the library, and keeps everybody out.
func (n *nvidia) alone() bool {
	for end := time.Now().Add(patience); !n.using.TryLock(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// quiet ends the watch for faults, if the library lets it.
func (n *nvidia) quiet() {
	if n.stop == nil {
		return
	}
	close(n.stop)
	n.stop = nil
	select {
	case <-n.ended:
	case <-time.After(patience):
	}
}

// watch remembers the XIDs that do harm. They do not pass by themselves: a GPU
// needs a reset then, which it cannot have while it is watched.
func (n *nvidia) watch(stop <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	n.using.RLock()
	defer n.using.RUnlock()
	err := n.library.Faults(stop, func(uuid string, xid uint64) {
		if slices.Contains(harmlessXIDs, xid) {
			return
		}
		n.mu.Lock()
		if n.xids == nil {
			n.xids = map[string]uint64{}
		}
		n.xids[uuid] = xid
		n.mu.Unlock()
		n.changed()
	})
	if err != nil {
		n.log.Info("the driver reports no XIDs", "reason", err)
	}
}

// found returns a card as it is offered: whole, or its slices.
func (n *nvidia) found(c nvidiaCard) (all []found) {
	whole := found{id: c.UUID, vendor: "nvidia", kind: kindGPU, name: cmp.Or(c.Name, "unknown"), bus: c.Bus, memoryMiB: c.MemoryMiB, attributes: c.attributes(), trouble: n.trouble(c)}
	parts := []found{whole}
	if c.MIG {
		parts = nil
		for _, s := range c.Slices {
			part := whole
			part.id, part.name, part.memoryMiB = s.UUID, cmp.Or(s.Name, "unknown"), s.MemoryMiB
			parts = append(parts, part)
		}
	}
	for _, f := range parts {
		if f.id != "" && !slices.Contains(n.ignore, c.UUID) && !slices.Contains(n.ignore, f.id) {
			all = append(all, f)
		}
	}
	return all
}

// trouble says why a card is not well; "" if it is. The first that holds counts.
func (n *nvidia) trouble(c nvidiaCard) string {
	n.mu.Lock()
	xid, harmed := n.xids[c.UUID]
	n.mu.Unlock()
	switch {
	case c.Trouble != nil:
		return c.Trouble.Error()
	case harmed:
		return fmt.Sprintf("the driver reported XID %d: reset the GPU, then start the Nomad client again", xid)
	case c.RemapFailed:
		return "a bad row of its memory could not be replaced"
	case c.Uncorrected > 0:
		return fmt.Sprintf("%d uncorrectable memory errors since the driver was loaded", c.Uncorrected)
	}
	return ""
}

func (n *nvidia) sample(f found) ([]reading, error) {
	if !n.using.TryRLock() {
		return nil, errSilent
	}
	defer n.using.RUnlock()
	if !n.opened {
		return nil, errClosed
	}
	return n.library.Sample(f.id)
}

// reserve names the GPUs to CUDA and to NVIDIA's container runtime, which brings
// their files itself.
func (n *nvidia) reserve(given []found) *device.ContainerReservation {
	return &device.ContainerReservation{Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": ids(given), "CUDA_VISIBLE_DEVICES": ids(given)}}
}

func (n *nvidia) close() {
	n.quiet()
	if !n.alone() {
		return
	}
	defer n.using.Unlock()
	if n.opened {
		n.library.Close()
		n.opened = false
	}
}
