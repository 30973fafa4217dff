package server

import (
	"context"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/controller"
	"github.com/muster-ml/muster/store"
)

// claims rings the controller when an agent said something that moves a run.
type claims struct {
	*store.Store
	controller *controller.Controller
	inTrace    func(ctx context.Context, launch string, a *muster.Assignment) error // nil without traces
}

// Claim gives an instance to an allocation.
func (c *claims) Claim(ctx context.Context, a *muster.Allocation, bootID string, notes []string) (*muster.Assignment, error) {
	defer c.controller.Order()
	defer c.controller.Wake()
	as, err := c.Store.Claim(ctx, a, bootID, notes)
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
