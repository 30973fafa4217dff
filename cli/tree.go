package cli

import (
	"slices"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// maxBelow is how many of the runs below one are shown with it.
const maxBelow = 200

// branch is a run in a tree, with what is drawn before its name.
type branch struct {
	run    *muster.RunView
	before string
}

// treeOf puts runs, which come with the newest first, below their parents, in the
// order in which they were made. Whoever's parent is not among them stands at the
// left.
func treeOf(runs []*muster.RunView) []branch {
	known, below := map[string]bool{}, map[string][]*muster.RunView{}
	for _, r := range runs {
		known[r.Name] = true
	}
	var tree []branch
	for _, r := range slices.Backward(runs) {
		if known[r.Parent] {
			below[r.Parent] = append(below[r.Parent], r)
		}
	}
	var grow func(r *muster.RunView, own, children string)
	grow = func(r *muster.RunView, own, children string) {
		tree = append(tree, branch{r, own})
		for i, child := range below[r.Name] {
			if i == len(below[r.Name])-1 {
				grow(child, children+"└─ ", children+"   ")
			} else {
				grow(child, children+"├─ ", children+"│  ")
			}
		}
	}
	for _, r := range slices.Backward(runs) {
		if !known[r.Parent] {
			grow(r, "", "")
		}
	}
	return tree
}

// runsBelow returns the runs below one, at most maxBelow, the newest first.
func runsBelow(o *ofRun) ([]*muster.RunView, error) {
	var all []*muster.RunView
	for parents := []string{o.name}; len(parents) > 0 && len(all) < maxBelow; {
		children, err := o.api.AllRuns(o.Context.Context, o.workspace, client.RunQuery{Parent: parents[0]}, maxBelow-len(all))
		if err != nil {
			return nil, err
		}
		parents = parents[1:]
		for _, r := range children {
			parents = append(parents, r.Name)
		}
		all = append(all, children...)
	}
	return all, nil
}
