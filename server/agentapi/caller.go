package agentapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// caller is an allocation with the instance that it has claimed.
type caller struct {
	launch   *muster.Launch
	instance *muster.Instance
}

// identify returns the allocation that calls, which must be of the launch in
// the path.
func (a *API) identify(r *http.Request) (*muster.Allocation, error) {
	alloc, err := a.whoCalls(r)
	if err != nil {
		return nil, err
	}
	if a.Called != nil {
		a.Called(r.Context(), "agent "+alloc.Launch)
	}
	if alloc.Launch == "" || alloc.Launch != r.PathValue("launch") {
		return nil, muster.Errorf(muster.CodeForbidden, "this workload identity belongs to another launch")
	}
	return alloc, nil
}

// whoCalls returns the allocation that calls.
func (a *API) whoCalls(r *http.Request) (*muster.Allocation, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "there is no workload identity in the request")
	}
	hash := muster.HashToken(token)
	a.mu.Lock()
	id, known := a.known[hash]
	a.mu.Unlock()
	if !known || time.Now().After(id.until) {
		alloc, err := a.Identities.Identify(r.Context(), token)
		if err != nil {
			return nil, err
		}
		id = identity{alloc, time.Now().Add(trustToken)}
		a.mu.Lock()
		a.known[hash] = id
		a.mu.Unlock()
	}
	return id.alloc, nil
}

// handleWork is handleOwn until the instance has told its result.
func (a *API) handleWork(f func(w http.ResponseWriter, r *http.Request, c *caller) error) http.HandlerFunc {
	return a.handleOwn(func(w http.ResponseWriter, r *http.Request, c *caller) error {
		if c.instance.Result != nil {
			return muster.Errorf(muster.CodeForbidden, "the instance has reported its end")
		}
		return f(w, r, c)
	})
}

// handleOwn lets an allocation act on the instance it has claimed, as long as
// its launch goes on.
func (a *API) handleOwn(f func(w http.ResponseWriter, r *http.Request, c *caller) error) http.HandlerFunc {
	return a.handle(func(w http.ResponseWriter, r *http.Request) error {
		alloc, err := a.identify(r)
		if err != nil {
			return err
		}
		c, err := a.own(r, alloc)
		if err != nil {
			return err
		}
		a.hear(c)
		return f(w, r, c)
	})
}

// own finds the caller's instance.
func (a *API) own(r *http.Request, alloc *muster.Allocation) (*caller, error) {
	launch, err := a.Claims.FindLaunch(r.Context(), alloc.Launch)
	if err != nil {
		return nil, err
	}
	if launch.State == muster.LaunchOver || launch.State == muster.LaunchPurged {
		return nil, muster.Errorf(muster.CodeForbidden, "the launch is over")
	}
	for i := range launch.Instances {
		in := &launch.Instances[i]
		if in.AllocID != alloc.ID {
			continue
		}
		if given := r.PathValue("i"); given != "" && given != strconv.Itoa(in.Index) {
			return nil, muster.Errorf(muster.CodeForbidden, "instance %s belongs to another allocation", given)
		}
		return &caller{launch, in}, nil
	}
	return nil, muster.Errorf(muster.CodeForbidden, "the allocation has claimed no instance of the launch")
}

// hear remembers that the caller lives.
func (a *API) hear(c *caller) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard[muster.InstanceID{Launch: c.launch.ID, Index: c.instance.Index}] = time.Now()
}
