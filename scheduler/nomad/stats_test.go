package nomad_test

import (
	"slices"

	"github.com/muster-ml/muster"
)

// read reads what the node and an allocation use, which the lab's script does
// hardly.
func read(l *lab) {
	value := func(all []muster.Reading, name, unit string) float64 {
		i := slices.IndexFunc(all, func(r muster.Reading) bool { return r.Name == name && r.Unit == unit })
		if i < 0 {
			return -1
		}
		return all[i].Value
	}
	_, child := l.run(l.launch("read", "ws-read"))
	alloc := l.alloc(child)
	host, err := l.ReadNode(l.Context(), alloc.NodeID)
	l.must(err)
	if cpu, memory, disk := value(host.Node, "node_cpu", "%"), value(host.Node, "node_memory", "MiB"), value(host.Node, "node_disk", "%"); cpu < 0 || cpu > 100 || memory < 10 || disk <= 0 || disk > 100 {
		l.Errorf("the node uses %+v", host)
	}
	l.eventually("the allocation to be measured", func() bool {
		own, err := l.ReadAlloc(l.Context(), alloc.Namespace, alloc.ID)
		l.must(err)
		return value(own, "cpu", "%") >= 0 && value(own, "memory", "MiB") > 0
	})
	if _, err := l.ReadAlloc(l.Context(), alloc.Namespace, "5f0c0000-0000-0000-0000-000000000000"); err == nil {
		l.Error("an allocation that is not there is read")
	}
	if _, err := l.ReadNode(l.Context(), "5f0c0000-0000-0000-0000-000000000000"); err == nil {
		l.Error("a node that is not there is read")
	}
}
