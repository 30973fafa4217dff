package api

import (
	"bytes"
	_ "embed" // the page
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed page.html
var pageText string

// pageTemplate shows the document to people. It needs nothing from elsewhere.
var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the template shows.
type page struct {
	Title, Version string
	Groups         []*pageGroup
	Schemas        []pageSchema
}

type pageGroup struct {
	Name       string
	Operations []pageOperation
}

type pageOperation struct {
	ID, Method, Path, Summary, Example string
	Parameters                         []*huma.Param
	Bodies                             []pageContent
	Answers                            []pageAnswer
}

type pageContent struct{ Media, Schema string }

type pageAnswer struct {
	Status, Description string
	Contents            []pageContent
}

type pageSchema struct {
	Name   string
	Fields []pageField
}

type pageField struct {
	Name, Type, Schema, Description string
	Required                        bool
}

// servePage renders the document and serves it.
func (a *API) servePage() error {
	var text bytes.Buffer
	if err := pageTemplate.Execute(&text, newPage(a.huma.OpenAPI())); err != nil {
		return fmt.Errorf("render the page of the API: %w", err)
	}
	a.mux.HandleFunc("GET "+base+"/docs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_, _ = w.Write(text.Bytes()) // a reader who is gone misses nothing
	})
	return nil
}

// newPage sorts a document into groups.
func newPage(doc *huma.OpenAPI) *page {
	p, groups := &page{Title: doc.Info.Title, Version: doc.Info.Version}, map[string]*pageGroup{}
	for _, name := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, o := range operationsOf(doc.Paths[name]) {
			tag := o.Tags[0]
			if groups[tag] == nil {
				groups[tag] = &pageGroup{Name: tag}
				p.Groups = append(p.Groups, groups[tag])
			}
			groups[tag].Operations = append(groups[tag].Operations, newPageOperation(o))
		}
	}
	slices.SortFunc(p.Groups, func(a, b *pageGroup) int { return strings.Compare(a.Name, b.Name) })
	schemas := doc.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		p.Schemas = append(p.Schemas, newPageSchema(name, schemas[name]))
	}
	return p
}

// operationsOf lists what can be done at a path.
func operationsOf(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Head, item.Post, item.Put, item.Patch, item.Delete}
	return slices.DeleteFunc(all, func(o *huma.Operation) bool { return o == nil })
}

func newPageOperation(o *huma.Operation) pageOperation {
	p := pageOperation{ID: o.OperationID, Method: o.Method, Path: o.Path, Summary: o.Summary, Parameters: o.Parameters, Example: exampleOf(o)}
	if o.RequestBody != nil {
		p.Bodies = contents(o.RequestBody.Content)
	}
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		r := o.Responses[status]
		p.Answers = append(p.Answers, pageAnswer{status, r.Description, contents(r.Content)})
	}
	return p
}

// contents lists media types with their schemas.
func contents(all map[string]*huma.MediaType) (list []pageContent) {
	for _, media := range slices.Sorted(maps.Keys(all)) {
		list = append(list, pageContent{media, schemaName(all[media].Schema)})
	}
	return list
}

// schemaName names the schema that another one points to, or is a list of.
func schemaName(s *huma.Schema) string {
	for s != nil && s.Ref == "" && s.Items != nil {
		s = s.Items
	}
	if s == nil || s.Ref == "" {
		return ""
	}
	return path.Base(s.Ref)
}

func newPageSchema(name string, s *huma.Schema) pageSchema {
	p := pageSchema{Name: name}
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[field]
		p.Fields = append(p.Fields, pageField{field, f.Type, schemaName(f), f.Description, slices.Contains(s.Required, field)})
	}
	return p
}

// exampleOf is a command that calls an operation.
func exampleOf(o *huma.Operation) string {
	url, query := o.Path, []string{}
	for _, p := range o.Parameters {
		if p.Example == nil {
			continue
		}
		if p.In == "path" {
			url = strings.Replace(url, "{"+p.Name+"}", fmt.Sprint(p.Example), 1)
		} else if p.In == "query" && p.Required {
			query = append(query, p.Name+"="+fmt.Sprint(p.Example))
		}
	}
	if len(query) > 0 {
		url += "?" + strings.Join(query, "&")
	}
	command := "curl -X " + o.Method
	if o.Method == http.MethodGet {
		command = "curl"
	}
	command += ` -H "Authorization: Bearer $MUSTER_TOKEN"`
	if o.RequestBody != nil {
		if media := o.RequestBody.Content["application/json"]; media != nil && media.Example != nil {
			text, err := json.Marshal(media.Example)
			if err == nil {
				command += ` -H "Content-Type: application/json" -d '` + string(text) + "'"
			}
		} else {
			command += " --data-binary @FILE"
		}
	}
	return command + ` "$MUSTER_ADDR` + url + `"`
}
