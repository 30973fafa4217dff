package agentapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/muster-ml/muster"
)

// problem answers as RFC 9457 says. What is not meant for the caller is logged.
func (a *API) problem(w http.ResponseWriter, r *http.Request, err error) {
	var e *muster.Error
	if !errors.As(err, &e) {
		id := r.Header.Get("X-Request-Id") // the server gives one to every request
		if r.Context().Err() == nil {
			a.Logger.Error("answer an agent", "method", r.Method, "path", r.URL.Path, "error", err, "request_id", id)
		}
		e = muster.Errorf(muster.CodeInternal, "the server failed at this request").WithCure("its log has the cause under request id %s", id)
	}
	status := e.Code.Status()
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // nobody is left to tell when this fails
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": e.Message,
		"code": e.Code, "field": e.Field, "cure": e.Cure,
	})
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
	return nil
}

// maxJSON is the largest question in JSON, in bytes.
const maxJSON = 8 << 20

// read reads a question.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	data, err := readBody(w, r, maxJSON)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return muster.Errorf(muster.CodeInvalid, "the request is not the JSON it should be: %v", err)
	}
	return nil
}

// readBody reads a whole body; one that breaks off or is too large is refused.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if errTooLarge(err) {
		return nil, muster.Errorf(muster.CodeTooLarge, "the body is larger than %d bytes", limit)
	}
	if err != nil {
		return nil, muster.Errorf(muster.CodeInvalid, "the body broke off: %v", err)
	}
	return data, nil
}
