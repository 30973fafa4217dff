package server

import (
	"cmp"
	"context"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/controller"
	"github.com/muster-ml/muster/store"
)

// claims rings the controller when an agent said something that moves a run.
type claims struct {
	*store.Store
	controller *controller.Controller
	runAs      string                                                               // whose rights runs have where their cluster says nothing
	inTrace    func(ctx context.Context, launch string, a *muster.Assignment) error // nil without traces
}

// Claim gives an instance to an allocation.
func (c *claims) Claim(ctx context.Context, a *muster.Allocation, bootID string, notes []string) (*muster.Assignment, error) {
	as, err := c.Store.Claim(ctx, a, bootID, notes)
	if err == nil && as.Waits != "" {
		return as, nil // nothing has moved
	}
	defer c.controller.Order()
	defer c.controller.Wake()
	if err == nil && c.inTrace != nil {
		err = c.inTrace(ctx, a.Launch, as) // the claim is won: the agent asks again and wins it again
	}
	return as, err
}

// Report keeps what an agent said.
func (c *claims) Report(ctx context.Context, launch string, r *muster.Report) (*muster.Orders, error) {
	orders, err := c.Store.Report(ctx, launch, r)
	if err == nil && orders.News {
		c.controller.Wake()
	}
	return orders, err
}

// ReportNode keeps what a node's agent said. Launches that wait for the node are
// told.
func (c *claims) ReportNode(ctx context.Context, a *muster.Allocation, r *muster.NodeReport) (*muster.NodeOrders, error) {
	orders, err := c.Store.ReportNode(ctx, a, r)
	if err != nil {
		return nil, err
	}
	orders.Readying.User = cmp.Or(orders.Readying.User, c.runAs)
	if orders.News {
		c.controller.Order()
		c.controller.Wake()
	}
	return orders, nil
}
