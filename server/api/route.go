package api

import "net/http"

// Route returns the pattern of the route that answers a request, with its
// method; "/" where there is none.
func (a *API) Route(r *http.Request) string {
	_, pattern := a.mux.Handler(r)
	return pattern
}
