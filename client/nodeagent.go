package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/muster-ml/muster"
)

// ReportNode tells how far the agent of a node has come and hears what is wanted
// of it.
func (a *Agent) ReportNode(ctx context.Context, r *muster.NodeReport) (*muster.NodeOrders, error) {
	var answer muster.NodeOrders
	if err := a.callJSON(ctx, "report", r, &answer); err != nil {
		return nil, err
	}
	a.learn(answer.Servers)
	return &answer, nil
}

// PutNodeChunk hands in a piece of a node's log, and returns how much of it is
// kept.
func (a *Agent) PutNodeChunk(ctx context.Context, log string, offset int64, data []byte) (kept int64, err error) {
	var answer muster.ChunkAnswer
	err = a.decode(ctx, call{method: http.MethodPut, path: fmt.Sprintf("logs/%s/%d", url.PathEscape(log), offset), size: int64(len(data)), body: inMemory(data)}, &answer)
	return answer.Kept, err
}
