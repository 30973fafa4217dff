package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/muster-ml/muster"
)

// problem is an error as RFC 9457 has it, with Muster's code, place and cure.
type problem struct {
	Type   string      `json:"type" doc:"Names the kind of problem." example:"about:blank"`
	Title  string      `json:"title" example:"Not Found"`
	Status int         `json:"status" example:"404"`
	Detail string      `json:"detail" example:"there is no run x in workspace default"`
	Code   muster.Code `json:"code" doc:"Stable: what a program may rely on." example:"not_found"`
	Field  string      `json:"field,omitempty" doc:"Where in the request." example:"name"`
	Cure   string      `json:"cure,omitempty" doc:"What the caller can do."`
}

// Error returns the detail.
func (p *problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *problem) GetStatus() int { return p.Status }

// ContentType is that of problems.
func (p *problem) ContentType(string) string { return "application/problem+json" }

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a caller that is gone hears nothing
}

// toProblem makes a problem of an error that may be shown.
func toProblem(e *muster.Error) *problem {
	status := e.Code.Status()
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: e.Message, Code: e.Code, Field: e.Field, Cure: e.Cure}
}

// problem makes a problem of any error. What is not meant for the caller is
// logged, and the caller gets the number to find it by.
func (a *API) problem(ctx context.Context, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*muster.Error](err); ok {
		return toProblem(e)
	}
	o := origin(ctx)
	if ctx.Err() == nil {
		a.Logger.Error("a request failed", "error", err, "request_id", o.RequestID, "actor", o.Actor)
	}
	return toProblem(muster.Errorf(muster.CodeInternal, "the server failed at this request").WithCure("its log has the cause under request id %s", o.RequestID))
}

// newProblem makes a problem of what huma finds wrong outside of a request.
func newProblem(status int, message string, errs ...error) huma.StatusError {
	return newProblemOf(nil, status, message, errs...)
}

// newProblemOf makes a problem of what huma finds wrong with a request. One thing
// is shown: the first, but a misspelt property before the one that it makes
// missing.
func newProblemOf(c huma.Context, status int, message string, errs ...error) huma.StatusError {
	var body reflect.Type
	if c != nil && c.Operation() != nil {
		body, _ = c.Operation().Metadata[bodyKey].(reflect.Type)
	}
	if i := slices.IndexFunc(errs, isUnknown); i > 0 {
		errs = errs[i:]
	}
	for _, err := range errs {
		switch e := err.(type) {
		case *problem:
			return e
		case huma.ErrorDetailer:
			return toProblem(explain(e.ErrorDetail(), body))
		case nil:
		default:
			return toProblem(muster.Errorf(muster.CodeOfStatus(status), "%s: %v", message, err))
		}
	}
	e := muster.Errorf(muster.CodeOfStatus(status), "%s", message)
	switch {
	case e.Code == muster.CodeTooLarge:
		e = tooLarge(maxBody)
	case message == "request body is required":
		e = muster.Errorf(e.Code, "this call needs a body").WithCure("send JSON; %s/docs shows what is in it", base)
	}
	return toProblem(e)
}

// isUnknown reports whether huma met a property that it does not know.
func isUnknown(err error) bool {
	d, ok := err.(huma.ErrorDetailer)
	return ok && d.ErrorDetail().Message == validation.MsgUnexpectedProperty
}

// explain puts into a sentence what huma says of one place in a request, whose
// body is read into a type; nil where it has none.
func explain(d *huma.ErrorDetail, body reflect.Type) *muster.Error {
	in, field, below := strings.Cut(d.Location, ".")
	if !below {
		field = in
	}
	message := strings.TrimSpace(d.Message)
	invalid := func(format string, args ...any) *muster.Error {
		return muster.Errorf(muster.CodeInvalid, format, args...).At(field)
	}
	if message == validation.MsgUnexpectedProperty {
		return invalid("%s is not known", field).WithCure("%s", cureOfUnknown(field, body))
	}
	if rest, ok := strings.CutPrefix(message, "expected required property "); ok {
		field = strings.TrimPrefix(field+"."+strings.TrimSuffix(rest, " to be present"), "body.")
		return invalid("%s is missing", field)
	}
	subject := field
	if field == "body" {
		subject = "the body"
	}
	if rest, ok := strings.CutPrefix(message, "expected "); ok {
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, "value to be "), "string to be ")
		return invalid("%s must be %s", subject, article(rest))
	}
	if rest, ok := strings.CutPrefix(message, "invalid "); ok && in != "body" {
		return invalid("%s must be %s, not %q", subject, article(rest), fmt.Sprint(d.Value))
	}
	if strings.HasPrefix(message, "unknown content type") {
		return invalid("%s: %s", subject, message).WithCure("send Content-Type: application/json")
	}
	if in == "body" && !below {
		return invalid("the body is not JSON: %s", message)
	}
	return invalid("%s: %s", subject, message)
}

// article puts "a" or "an" before the name of a type.
func article(what string) string {
	switch {
	case strings.HasPrefix(what, "one of"):
		return what
	case strings.ContainsRune("aeiou", rune(what[0])):
		return "an " + what
	}
	return "a " + what
}

// bodyKey finds in what huma knows of an operation what its body is read into.
const bodyKey = "body"

// bodyOf returns what the body of a route's input is read into; nil where it has
// none.
func bodyOf(input reflect.Type) any {
	if f, has := input.FieldByName("Body"); has {
		return f.Type
	}
	return nil
}

// cureOfUnknown names what is known at the place of an unknown property: the
// one that was probably meant, or all.
func cureOfUnknown(field string, body reflect.Type) string {
	parts := strings.Split(field, ".")
	above, unknown := parts[:len(parts)-1], parts[len(parts)-1]
	var known []string
	if body != nil {
		known = propertiesAt(body, above)
	}
	if near := muster.Nearest(unknown, known); near != "" {
		return "did you mean " + strings.Join(append(slices.Clone(above), near), ".") + "?"
	}
	if len(known) == 0 {
		return "nothing is known there"
	}
	slices.Sort(known)
	return "what is known there: " + strings.Join(slices.Compact(known), ", ")
}

// knownQuery refuses what a question of the URL holds that the route does not
// know: misspelt it would be passed over, and all be answered for some.
func (a *API) knownQuery(c huma.Context, next func(huma.Context)) {
	var known []string
	for _, p := range c.Operation().Parameters {
		if p.In == "query" {
			known = append(known, p.Name)
		}
	}
	u := c.URL()
	for _, name := range slices.Sorted(maps.Keys(u.Query())) {
		if slices.Contains(known, name) {
			continue
		}
		cure := "it takes none"
		if near := muster.Nearest(name, known); near != "" {
			cure = "did you mean " + near + "?"
		} else if len(known) > 0 {
			cure = "it takes " + strings.Join(known, ", ")
		}
		a.refuse(c, muster.Errorf(muster.CodeInvalid, "the route takes no parameter %q", name).At(name).WithCure("%s", cure))
		return
	}
	next(c)
}

// propertiesAt lists the JSON names of the struct at a path below t, nil where
// there is none.
func propertiesAt(t reflect.Type, path []string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() == reflect.Map && len(path) > 0 {
		return propertiesAt(t.Elem(), path[1:])
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			if len(path) == 0 {
				names = append(names, propertiesAt(f.Type, nil)...)
			} else if below := propertiesAt(f.Type, path); below != nil {
				return below
			}
			continue
		}
		if len(path) > 0 && name == strings.TrimRight(path[0], "[]0123456789") {
			return propertiesAt(f.Type, path[1:])
		}
		names = append(names, name)
	}
	if len(path) > 0 {
		return nil
	}
	return names
}
