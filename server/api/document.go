package api

import (
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

// completeDocument says in the document what huma does not find in Go's types.
func (a *API) completeDocument() {
	doc := a.huma.OpenAPI()
	for _, t := range []reflect.Type{reflect.TypeFor[muster.Event](), reflect.TypeFor[muster.Chunk]()} {
		doc.Components.Schemas.Schema(t, true, "")
	}
	paths := map[string]*huma.PathItem{}
	for path, item := range doc.Paths {
		for _, o := range []*huma.Operation{item.Get, item.Put} {
			if o == nil {
				continue
			}
			if content, ok := streams[o.OperationID]; ok {
				o.Responses["200"].Content = content
			}
			if o.OperationID == "put-upload" {
				o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": bytesMedia}}
			}
			// What Go's router needs to know of a path is no part of its name.
			o.Path = strings.Replace(o.Path, "...}", "}", 1)
		}
		paths[strings.Replace(path, "...}", "}", 1)] = item
	}
	doc.Paths = paths
}
