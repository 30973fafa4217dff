package node

import (
	"context"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
	"github.com/muster-ml/muster/agent/ship"
)

// setUp executes the set-up, as often as it may, and reports whether it has
// ended well. Orders of another generation, and the agent's end, kill it.
func (a *agent) setUp(ctx context.Context, o *muster.NodeOrders) bool {
	ctx, stop := a.while(ctx, func(n *muster.NodeOrders) bool { return n.Generation == o.Generation })
	defer stop()
	a.begun, a.done = o.Generation, done{}
	if err := forget(a.dir); err != nil {
		a.log.Warn("the end of an earlier set-up is not forgotten", "error", err)
	}
	end := done{Boot: a.config.boot, Generation: o.Generation}
	account, secrets, failure := a.needs(ctx, o)
	if ctx.Err() != nil {
		return false
	}
	if failure != "" { // it was not tried: what it needs may come
		a.tell(o, muster.HealthUnusable, failure)
		return false
	}
	if end.Failure = a.tries(ctx, o, account, secrets); ctx.Err() != nil {
		return false
	}
	if err := end.keep(a.dir); err != nil {
		a.log.Warn("the next agent executes the set-up again", "error", err)
	}
	if a.done = end; end.Failure != "" {
		a.tell(o, muster.HealthUnusable, end.Failure)
	}
	return end.Failure == ""
}

// needs returns what the set-up needs, or why it cannot have it.
func (a *agent) needs(ctx context.Context, o *muster.NodeOrders) (account host.Account, secrets map[string]string, failure string) {
	if account, failure = setUpAccount(o); failure != "" {
		return account, nil, failure
	}
	secrets, failure = a.secrets(ctx, o)
	return account, secrets, failure
}

// setUpAccount returns whose rights the set-up has, or why it cannot have them.
func setUpAccount(o *muster.NodeOrders) (account host.Account, failure string) {
	if o.Readying.Setup.AsRoot {
		if os.Geteuid() != 0 {
			return account, "its set-up wants root, and the Nomad client is not root"
		}
		return host.Own(), ""
	}
	account, err := host.FindAccount(o.Readying.User)
	if err != nil {
		return account, "its set-up cannot be executed: " + err.Error()
	}
	return account, ""
}

// tries executes the set-up until it ends well, and returns why it never did.
func (a *agent) tries(ctx context.Context, o *muster.NodeOrders, account host.Account, secrets map[string]string) (failure string) {
	pause, last := a.config.retry, 1+o.Readying.Setup.Retries
	for n := 1; ; n++ {
		failure = a.try(ctx, o, account, secrets, n)
		if failure == "" || n == last || ctx.Err() != nil {
			return failure
		}
		a.log.Warn("node", "try", n, "of", last, "failure", failure)
		ship.Pause(ctx, pause)
		pause = min(2*pause, longestRetry)
	}
}

// try executes the set-up once, and returns why it did not end well.
func (a *agent) try(ctx context.Context, o *muster.NodeOrders, account host.Account, secrets map[string]string, n int) (failure string) {
	s := o.Readying.Setup
	which := fmt.Sprintf("try %d of %d", n, 1+s.Retries)
	began := time.Now()
	log, err := a.openLog(ctx, logID(a.config.boot, o.Generation, n, began))
	if err != nil {
		return "its set-up failed: " + err.Error()
	}
	a.tellAll(func(r *muster.NodeReport) {
		r.Generation, r.Began, r.State, r.Reason, r.Log = o.Generation, true, muster.HealthPreparing, "its set-up runs, "+which, log.id
	})
	log.hide = hidden(secrets)
	log.say("set-up of node %s, %s, as %s, %s", a.config.name, which, account.Name, began.UTC().Format(time.RFC3339))
	vars := maps.Clone(s.Env)
	if vars == nil {
		vars = map[string]string{}
	}
	maps.Copy(vars, secrets)
	said := &lastLine{hide: log.hide}
	e := a.execute(ctx, command{name: "setup", text: s.Command, account: account, vars: vars, limit: time.Duration(s.Timeout), trusted: s.AsRoot, lasting: true}, log, said)
	log.say("ended with %s after %.1fs", e, time.Since(began).Seconds())
	if e.late {
		log.say("it may take %s", short(time.Duration(s.Timeout)))
	}
	log.close(ctx, a.config.log)
	switch {
	case e.well():
		return ""
	case e.late:
		return "its set-up took longer than " + short(time.Duration(s.Timeout))
	case said.String() != "":
		return fmt.Sprintf("its set-up failed: %s, at last: %s", e, said)
	}
	return fmt.Sprintf("its set-up failed: %s", e)
}
