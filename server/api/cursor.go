package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/muster-ml/muster"
)

// cursor is where a page of a list ended. Outside it is an opaque text.
type cursor[P any] struct {
	List  string `json:"l"` // the digest of what was asked for: a cursor is good for that list alone
	Place P      `json:"p"`
}

// digest names a question: what it is about and how it is sorted, not the page.
func digest(question any) string {
	text, err := json.Marshal(question)
	if err != nil {
		panic("api: a filter cannot be JSON: " + err.Error()) // it is made of texts and times
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}

// writeCursor makes the text of a place in the list that question asks for; no
// place is no text.
func writeCursor[P any](question any, place *P) string {
	if place == nil {
		return ""
	}
	text, err := json.Marshal(cursor[P]{digest(question), *place})
	if err != nil {
		panic("api: a place cannot be JSON: " + err.Error()) // it is made of numbers and texts
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// readCursor reads what writeCursor wrote; no text is no place.
func readCursor[P any](question any, text string) (*P, error) {
	if text == "" {
		return nil, nil
	}
	var c cursor[P]
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &c) != nil || c.List == "" {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is no cursor", text).At("cursor").WithCure("take it from the page before")
	}
	if c.List != digest(question) {
		return nil, muster.Errorf(muster.CodeInvalid, "the cursor is one of another list").At("cursor").
			WithCure("ask for the next page with the filters and the sort of the first, or begin again without a cursor")
	}
	return &c.Place, nil
}
