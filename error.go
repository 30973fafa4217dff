package muster

import (
	"errors"
	"fmt"
)

// Code says what kind of error the caller met. One code stands for one HTTP
// status and one exit code of the CLI.
type Code string

// The codes. Everything that is not an *Error is CodeInternal: it is logged
// where it happens and not shown to the caller.
const (
	CodeInvalid         Code = "invalid"         // the request makes no sense as written; 400, exit 2
	CodeUnauthenticated Code = "unauthenticated" // nobody we know; 401, exit 4
	CodeForbidden       Code = "forbidden"       // known, but not allowed; 403, exit 4
	CodeNotFound        Code = "not_found"       // 404, exit 3
	CodeConflict        Code = "conflict"        // it exists already, or its state does not allow this; 409, exit 4
	CodeRefused         Code = "refused"         // understood, and this site cannot do it; 422, exit 4
	CodeTooLarge        Code = "too_large"       // 413, exit 4
	CodePrecondition    Code = "precondition"    // it has changed since the caller looked; 412, exit 4
	CodeRateLimited     Code = "rate_limited"    // too many requests or streams at once; 429, exit 5
	CodeUnreachable     Code = "unreachable"     // a part that is needed does not answer; 503, exit 5
	CodeInternal        Code = "internal"        // 500, exit 6
)

// codes maps each code to its HTTP status and the CLI's exit code.
var codes = map[Code]struct{ status, exit int }{
	CodeInvalid:         {400, 2},
	CodeUnauthenticated: {401, 4},
	CodeForbidden:       {403, 4},
	CodeNotFound:        {404, 3},
	CodeConflict:        {409, 4},
	CodeRefused:         {422, 4},
	CodeTooLarge:        {413, 4},
	CodePrecondition:    {412, 4},
	CodeRateLimited:     {429, 5},
	CodeUnreachable:     {503, 5},
	CodeInternal:        {500, 6},
}

// Status returns the HTTP status of the code.
func (c Code) Status() int { return codes[c].status }

// ExitCode returns the exit code with which the CLI ends on the code.
func (c Code) ExitCode() int { return codes[c].exit }

// CodeOfStatus returns the code of an HTTP status: the one that maps to it, or
// the nearest in meaning for a status that Muster itself never sends.
func CodeOfStatus(status int) Code {
	for code, c := range codes {
		if c.status == status {
			return code
		}
	}
	switch {
	case status == 502 || status == 504:
		return CodeUnreachable
	case status >= 400 && status < 500:
		return CodeInvalid
	}
	return CodeInternal
}

// Error is an error that is safe and meant to be shown to the caller: what is
// wrong and, where there is one, the cure.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"` // where in the request, such as "inputs.data.path"
	Cure    string `json:"cure,omitempty"`  // what the caller can do about it
}

// Error returns the message, with the cure behind it.
func (e *Error) Error() string {
	if e.Cure == "" {
		return e.Message
	}
	return e.Message + ": " + e.Cure
}

// Errorf makes an error that may be shown to the caller.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithCure returns a copy of e that says what the caller can do.
func (e *Error) WithCure(format string, args ...any) *Error {
	c := *e
	c.Cure = fmt.Sprintf(format, args...)
	return &c
}

// At returns a copy of e that names the place in the request.
func (e *Error) At(field string) *Error {
	c := *e
	c.Field = field
	return &c
}

// Within returns err with its place put below another, such as runs[3]; what is
// not meant for the caller stays as it is.
func Within(err error, place string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	if e.Field != "" {
		place += "." + e.Field
	}
	return e.At(place)
}

// CodeOf returns the code of err: CodeInternal where it carries none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
