package api

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// streams are the answers that huma cannot know of, by operation.
var streams = map[string]map[string]*huma.MediaType{
	"workspace-events": eventMedia,
	"run-events":       eventMedia,
	"follow-logs":      {"text/event-stream": text("Events \"chunk\", whose data is a Chunk, and at last \"end\".")},
	"get-log":          {"text/plain": text("")},
	"get-artifact":     {"application/octet-stream": bytesMedia},
}

var (
	bytesMedia = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	eventMedia = map[string]*huma.MediaType{
		"application/json":  {Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Ref: "#/components/schemas/Event"}}},
		"text/event-stream": text("Events \"event\", whose data is an Event, and for a run at last \"end\"."),
	}
)

func text(description string) *huma.MediaType {
	return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: description}}
}

// naming are the operations whose path names nothing, and whose question may
// name what does not exist.
var naming = map[string]bool{"create-workspace": true, "create-token": true, "list-nodes": true, "show-queue": true}

// refusals are the statuses with which a route refuses.
func (o operation) refusals() []int {
	if o.role == anybody {
		return []int{http.StatusBadRequest, http.StatusInternalServerError}
	}
	all := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}
	if strings.Contains(o.path, "{") || naming[o.id] {
		all = append(all, http.StatusNotFound)
	}
	if o.writes() || o.id == "show-node" || o.id == "show-scaling" {
		all = append(all, http.StatusConflict)
	}
	if o.method == http.MethodPost || o.method == http.MethodPut || o.method == http.MethodPatch {
		all = append(all, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity)
	}
	if conditional[o.id] {
		all = append(all, http.StatusPreconditionFailed)
	}
	return all
}

// completeDocument says in the document what huma does not find in Go's types.
func (a *API) completeDocument() {
	doc := a.huma.OpenAPI()
	for _, t := range []reflect.Type{reflect.TypeFor[muster.Event](), reflect.TypeFor[muster.Chunk]()} {
		doc.Components.Schemas.Schema(t, true, "")
	}
	doc.Components.Schemas.Map()["Experiment"].Properties["id"] = &huma.Schema{Type: huma.TypeString, Pattern: "^[0-9]+$", Description: "Stable, for tracking clients."}
	paths := map[string]*huma.PathItem{}
	for path, item := range doc.Paths {
		for _, o := range []*huma.Operation{item.Get, item.Put} {
			if o == nil {
				continue
			}
			if content, ok := streams[o.OperationID]; ok {
				o.Responses["200"].Content = content
			}
			if o.OperationID == "put-upload" || o.OperationID == "put-part" {
				o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": bytesMedia}}
			}
			if o.OperationID == "get-artifact" {
				completeArtifact(o)
			}
			// What Go's router needs to know of a path is no part of its name.
			o.Path = strings.Replace(o.Path, "...}", "}", 1)
		}
		if o := item.Post; o != nil && o.OperationID == "create-run" {
			o.RequestBody.Content["application/yaml"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: "A job file, as muster run submit takes it; its local files must be uploaded before."}}
		}
		for _, o := range operationsOf(item) {
			exemplify(o)
		}
		paths[strings.Replace(path, "...}", "}", 1)] = item
	}
	doc.Paths = paths
}

// completeArtifact tells of ranges, and of what a reader has already.
func completeArtifact(o *huma.Operation) {
	o.Parameters = append(o.Parameters, headerParam("Range", "Which bytes, such as bytes=0-1023.", "bytes=0-1023"), headerParam("If-None-Match", "The ETag of what one has.", ""))
	o.Responses["206"] = &huma.Response{Description: "Partial Content", Content: streams[o.OperationID]}
	o.Responses["304"] = &huma.Response{Description: "Not Modified"}
	o.Responses["416"] = &huma.Response{Description: "Requested Range Not Satisfiable", Content: map[string]*huma.MediaType{"text/plain": text("")}}
}
