package agentapi

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/muster-ml/muster"
)

// handleNode lets the agent of a node act for it.
func (a *API) handleNode(f func(w http.ResponseWriter, r *http.Request, alloc *muster.Allocation) error) http.HandlerFunc {
	return a.handle(func(w http.ResponseWriter, r *http.Request) error {
		alloc, err := a.whoCalls(r)
		if err != nil {
			return err
		}
		if a.Called != nil {
			a.Called(r.Context(), "agent of node "+alloc.NodeName)
		}
		if alloc.Cluster == "" || alloc.Cluster != r.PathValue("cluster") {
			return muster.Errorf(muster.CodeForbidden, "this workload identity is not that of the agent of a node of cluster %s", r.PathValue("cluster"))
		}
		return f(w, r, alloc)
	})
}

// reportNode keeps what the agent of a node tells, and holds the answer back while
// there is nothing to say.
func (a *API) reportNode(w http.ResponseWriter, r *http.Request, alloc *muster.Allocation) error {
	var q muster.NodeReport
	if err := read(w, r, &q); err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	return a.held(r, min(time.Duration(max(q.WaitSeconds, 0))*time.Second, maxHold), func(over bool) (bool, error) {
		report := q
		orders, err := a.Healths.ReportNode(r.Context(), alloc, &report)
		if err != nil {
			return false, err
		}
		begins := orders.Begin && !q.Began && q.State == muster.HealthPreparing && q.Generation == orders.Generation && orders.Readying.Setup != nil
		if !over && orders.Version == q.Heard && !begins {
			return false, nil
		}
		orders.Servers, orders.Now = a.Servers(), time.Now().UTC()
		return true, answer(w, orders)
	})
}

// putNodeChunk keeps a piece of the log of a node's set-up. One that is kept
// already stays as it is.
func (a *API) putNodeChunk(w http.ResponseWriter, r *http.Request, alloc *muster.Allocation) error {
	log := r.PathValue("log")
	offset, err := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if err != nil || offset < 0 || muster.CheckNodeLog(log) != nil {
		return muster.Errorf(muster.CodeInvalid, "there is no log %s at %s", log, r.PathValue("offset"))
	}
	data, err := readBody(w, r, muster.MaxChunk)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return muster.Errorf(muster.CodeInvalid, "the chunk is empty")
	}
	key := muster.NodeLogKey(alloc.NodeID, log, offset)
	defer a.lock(key)()
	kept, err := a.Blobs.Size(r.Context(), key)
	if muster.CodeOf(err) == muster.CodeNotFound {
		kept, _, err = a.Blobs.Put(r.Context(), key, "", bytes.NewReader(data))
	}
	if err != nil {
		return fmt.Errorf("keep chunk of a node's log: %w", err)
	}
	return answer(w, muster.ChunkAnswer{Kept: kept})
}
