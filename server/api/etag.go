package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// one is an answer about a single thing, with its ETag: the version of its row,
// where it has one, and a digest of all that is told of it. A reader who has the
// same digest has the same answer; a change compares the version alone, so that
// a metric that came meanwhile stands in nobody's way.
type one[T any] struct {
	Status  int
	ETag    string `header:"ETag" doc:"Of this answer: send it as If-None-Match to hear only of news, and as If-Match with a change."`
	Body    T
	version int64
}

// thing wraps the answer about a single thing. A version of 0 is none.
func thing[T any](v T, version int64, err error) (*one[T], error) {
	if err != nil {
		return nil, err
	}
	return &one[T]{Status: http.StatusOK, Body: v, version: version}, nil
}

// tag fills in the ETag, and empties the answer for a caller who has it already.
func (o *one[T]) tag(c conditions) error {
	text, err := json.Marshal(o.Body)
	if err != nil {
		return fmt.Errorf("make an ETag: %w", err)
	}
	sum := sha256.Sum256(text)
	o.ETag = `"` + hex.EncodeToString(sum[:8]) + `"`
	if o.version > 0 {
		o.ETag = fmt.Sprintf(`"%d-%x"`, o.version, sum[:8])
	}
	for _, have := range tags(c.ifNoneMatch) {
		if have == "*" || have == strings.Trim(o.ETag, `"`) {
			o.Status = http.StatusNotModified
		}
	}
	return nil
}

// tagged is every one.
type tagged interface{ tag(conditions) error }

// conditions are the headers of a request that make it depend on what is there.
type conditions struct{ ifMatch, ifNoneMatch string }

// conditionsKey finds the conditions in a request's context.
type conditionsKey struct{}

// conditionsIn reads the conditions of a request; only a GET is spared an answer
// that its caller has.
func conditionsIn(r *http.Request) conditions {
	c := conditions{ifMatch: r.Header.Get("If-Match")}
	if r.Method == http.MethodGet {
		c.ifNoneMatch = r.Header.Get("If-None-Match")
	}
	return c
}

func conditionsOf(ctx context.Context) conditions {
	c, _ := ctx.Value(conditionsKey{}).(conditions)
	return c
}

// versions returns which versions a change is meant for; nil is any.
func (c conditions) versions() []int64 {
	all := tags(c.ifMatch)
	if all == nil || len(all) == 1 && all[0] == "*" {
		return nil
	}
	versions := make([]int64, len(all))
	for i, t := range all {
		text, _, _ := strings.Cut(t, "-")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			n = -1 // no row has it
		}
		versions[i] = n
	}
	return versions
}

// tags splits a list of ETags; weak ones count as strong.
func tags(header string) (all []string) {
	if strings.TrimSpace(header) == "" {
		return nil
	}
	for t := range strings.SplitSeq(header, ",") {
		all = append(all, strings.Trim(strings.TrimPrefix(strings.TrimSpace(t), "W/"), `"`))
	}
	return all
}

// conditional are the operations that If-Match makes depend on the version that
// the caller has seen.
var conditional = map[string]bool{
	"update-workspace": true, "delete-workspace": true, "set-retention": true, "update-experiment": true, "delete-experiment": true,
	"update-cluster": true, "delete-cluster": true, "update-run": true, "delete-run": true, "cancel-run": true,
}

// headerParam describes a header of a request.
func headerParam(name, description, example string) *huma.Param {
	return &huma.Param{Name: name, In: "header", Description: description, Schema: &huma.Schema{Type: huma.TypeString}, Example: example}
}
