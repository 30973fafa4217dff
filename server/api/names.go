package api

import (
	"strings"

	"github.com/muster-ml/muster"
)

// InNames chooses a page of a list of things by name; without a limit it is all
// of them. Names never change, so that each page goes on behind the last one's
// last name, whatever came meanwhile.
type InNames struct {
	Prefix string `query:"name" doc:"Only those whose name begins so."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"At most this many; all when left out."`
	Cursor string `query:"cursor" doc:"Muster-Next of the page before."`
}

// names is a page of a list of things by name.
type names[T any] struct {
	Next string `header:"Muster-Next" doc:"The cursor of the next page; missing at the end."`
	Body []T
}

// byName makes a page of a list that is sorted by name.
func byName[T any](in InNames, all []T, name func(T) string, err error) (*names[T], error) {
	if err != nil {
		return nil, err
	}
	question := struct{ Names string }{in.Prefix}
	after, err := readCursor[string](question, in.Cursor)
	if err != nil {
		return nil, err
	}
	page := &names[T]{Body: []T{}}
	for _, v := range all {
		n := name(v)
		if !strings.HasPrefix(n, in.Prefix) || after != nil && n <= *after {
			continue
		}
		if in.Limit > 0 && len(page.Body) == in.Limit {
			last := name(page.Body[in.Limit-1])
			page.Next = writeCursor(question, &last)
			break
		}
		page.Body = append(page.Body, v)
	}
	return page, nil
}

func workspaceName(w *muster.Workspace) string   { return w.Name }
func experimentName(e *muster.Experiment) string { return e.Name }
func clusterName(c *muster.Cluster) string       { return c.Name }
func tokenName(k *muster.Token) string           { return k.Name }

// nodeName is a key, too: two nodes may have the same name.
func nodeName(n *muster.Node) string { return n.Name + "\n" + n.ID }

// words puts the words of a kind into a list for people.
func words[T ~string](all []T) string {
	list := make([]string, len(all))
	for i, w := range all {
		list[i] = string(w)
	}
	return strings.Join(list, ", ")
}
