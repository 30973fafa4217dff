package client

import (
	"net/http"
	"strconv"
	"time"
)

// maxWait is for how long a request waits at most while the server says that too
// much is asked of it.
const maxWait = 2 * time.Minute

// do sends a request, and again when the server asks to wait, where its body can
// be sent again.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	for end := time.Now().Add(maxWait); ; {
		resp, err := c.http.Do(req)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests || req.Body != nil && req.GetBody == nil {
			return resp, err
		}
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		wait := time.Duration(seconds) * time.Second
		if err != nil || time.Now().Add(wait).After(end) {
			return resp, nil
		}
		resp.Body.Close()
		select {
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(wait):
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}
