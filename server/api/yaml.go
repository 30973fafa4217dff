package api

import (
	"encoding/json"
	"fmt"
	"mime"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster/jobfile"
)

// yamlTypes are the media types of job files.
var yamlTypes = []string{"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"}

// jobFiles stands before a route that takes a run's request as JSON, and lets it
// take a job file as well.
func (a *API) jobFiles(o operation) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		media, _, err := mime.ParseMediaType(c.Header("Content-Type"))
		if err != nil || !slices.Contains(yamlTypes, media) {
			next(c)
			return
		}
		request, err := fromJobFile(c, o)
		if err != nil {
			a.refuse(c, err)
			return
		}
		next(request)
	}
}

// fromJobFile turns a job file into the JSON of the same request.
func fromJobFile(c huma.Context, o operation) (huma.Context, error) {
	request, err := takeBody(c, min(o.limit(), jobfile.MaxSize))
	if err != nil {
		return nil, err
	}
	run, err := jobfile.ReadSent(request.bytes)
	if err != nil {
		return nil, err
	}
	if request.bytes, err = json.Marshal(run); err != nil {
		return nil, fmt.Errorf("write what a job file says: %w", err)
	}
	request.contentType = "application/json"
	return request, nil
}
