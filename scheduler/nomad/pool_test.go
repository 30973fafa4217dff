package nomad_test

import (
	"slices"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
	"github.com/muster-ml/muster/scheduler/nomad"
)

// pools drops node pools: with the shapes that were made for them, in all
// namespaces, and with nothing else.
func pools(l *lab) {
	register := func(pool string) {
		l.Helper()
		_, err := l.api.NodePools().Register(&api.NodePool{Name: pool}, nil)
		l.must(err)
	}
	dispatch := func(id, namespace, pool string) (job string) {
		l.Helper()
		x := l.launch(id, namespace)
		x.NodePool = pool
		job, child, err := l.Dispatch(l.Context(), x)
		l.must(err)
		l.must(l.StopJob(l.Context(), namespace, child, true))
		return job
	}
	shapes := func() (all []string) {
		l.Helper()
		jobs, _, err := l.api.Jobs().List(&api.QueryOptions{Namespace: api.AllNamespacesNamespace, Prefix: jobspecs.Prefix(installation)})
		l.must(err)
		for _, j := range jobs {
			if j.ParameterizedJob && j.ParentID == "" {
				all = append(all, j.ID)
			}
		}
		return all
	}
	exists := func(pool string) bool {
		l.Helper()
		all, _, err := l.api.NodePools().List(nil)
		l.must(err)
		return slices.ContainsFunc(all, func(p *api.NodePool) bool { return p.Name == pool })
	}

	register("muster-p")
	register("muster-pp")
	gone := []string{dispatch("p0", "ws-p", "muster-p"), dispatch("p1", "ws-q", "muster-p")}
	stays := dispatch("p2", "ws-p", "muster-pp")
	l.must(l.DropPool(l.Context(), "muster-p", false))
	if all := shapes(); slices.Contains(all, gone[0]) || slices.Contains(all, gone[1]) || !slices.Contains(all, stays) || !exists("muster-p") {
		l.Errorf("of %v and %s are left %v; the operator's pool is there: %v", gone, stays, all, exists("muster-p"))
	}
	if again := dispatch("p3", "ws-p", "muster-p"); !slices.Contains(shapes(), again) { // it is registered anew
		l.Errorf("shape %s is not made again", again)
	}
	for range 2 {
		l.must(l.DropPool(l.Context(), "muster-p", true))
	}
	if all := shapes(); slices.Contains(all, gone[0]) || !slices.Contains(all, stays) || exists("muster-p") || !exists("muster-pp") {
		l.Errorf("of %v and %s are left %v; pools: %v, %v", gone, stays, all, exists("muster-p"), exists("muster-pp"))
	}
	if err := l.DropPool(l.Context(), "pool", true); muster.CodeOf(err) != muster.CodeRefused || !exists("pool") {
		l.Errorf("a pool with a node: %v", err)
	}
	l.must(l.DropPool(l.Context(), "muster-pp", true))
	config := l.config
	config.Installation = "never"
	fresh, err := nomad.New(config)
	l.must(err)
	l.must(fresh.DropNodeJob(l.Context(), "c", true)) // its namespace was never made
	l.must(l.ForgetNode(l.Context(), "01234567-89ab-cdef-0123-456789abcdef"))
}
