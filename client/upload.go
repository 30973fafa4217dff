package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
)

// uploading is how many parts of one file are sent at a time.
const uploading = 4

// Upload is something to upload.
type Upload struct {
	SHA256 string
	Size   int64
	Open   func() io.ReadCloser // called once a try
	Moved  func(n int64)        // called with bytes that have arrived, from several goroutines; may be nil
}

// PutUpload uploads what the workspace does not have yet; sent is the number of
// bytes that went over the network. What is large goes in parts: those that
// another try has brought are not sent again.
func (c *Client) PutUpload(ctx context.Context, workspace string, u Upload) (sent int64, err error) {
	at := []string{"workspaces", workspace, "uploads", u.SHA256}
	resp, err := c.send(ctx, request{method: http.MethodHead, path: at})
	if err == nil {
		resp.Body.Close()
		u.moved(u.Size)
		return 0, nil
	}
	if muster.CodeOf(err) != muster.CodeNotFound {
		if _, said := c.kept(ctx, at); said != nil {
			err = said // an answer to HEAD says nothing but its status
		}
		return 0, err
	}
	if u.Size > muster.PartSize {
		var there atomic.Int64
		err = retry(ctx, func() error {
			n, err := c.putParts(ctx, at, u, &there)
			sent += n
			return err
		})
		return sent, err
	}
	err = retry(ctx, func() error {
		resp, err := c.send(ctx, request{method: http.MethodPut, path: at, body: u.Open(), size: u.Size,
			header: http.Header{"Content-Type": {"application/octet-stream"}}})
		if err == nil {
			resp.Body.Close()
			sent += u.Size
			u.moved(u.Size)
		}
		return err
	})
	return sent, err
}

// moved tells of bytes that have arrived.
func (u Upload) moved(n int64) {
	if u.Moved != nil {
		u.Moved(n)
	}
}

// kept lists the parts of an upload that the server has.
func (c *Client) kept(ctx context.Context, at []string) (*muster.Parts, error) {
	return get[*muster.Parts](ctx, c, nil, append(slices.Clone(at), "parts")...)
}

// putParts sends the parts that the server lacks and has it put them together.
// There is how many bytes have been told of as moved.
func (c *Client) putParts(ctx context.Context, at []string, u Upload, there *atomic.Int64) (sent int64, err error) {
	kept, err := c.kept(ctx, at)
	if err != nil {
		return 0, err
	}
	missing := kept.Missing(u.Size)
	has := u.Size
	for _, p := range missing {
		has -= p.Size
	}
	u.moved(has - there.Swap(has))
	g, parts := errgroup.WithContext(ctx)
	g.SetLimit(uploading)
	sent, err = u.each(missing, func(offset int64, data []byte) {
		g.Go(func() error {
			err := c.putPart(parts, at, offset, data)
			if err == nil {
				n := int64(len(data))
				there.Add(n)
				u.moved(n)
			}
			return err
		})
	})
	if err := cmp.Or(g.Wait(), err); err != nil {
		return sent, err
	}
	return sent, c.call(ctx, request{method: http.MethodPost, path: append(slices.Clone(at), "complete"), query: values("size", strconv.FormatInt(u.Size, 10))}, nil, nil)
}

// each reads what is uploaded once through and gives the parts that are wanted
// to f.
func (u Upload) each(wanted []muster.Part, f func(offset int64, data []byte)) (given int64, err error) {
	body := u.Open()
	defer body.Close()
	for _, p := range muster.PartsOf(u.Size) {
		if !slices.Contains(wanted, p) {
			if _, err := io.CopyN(io.Discard, body, p.Size); err != nil {
				return given, readAgain(err)
			}
			continue
		}
		data := make([]byte, p.Size)
		if _, err := io.ReadFull(body, data); err != nil {
			return given, readAgain(err)
		}
		f(p.Offset, data)
		given += p.Size
	}
	return given, nil
}

// readAgain says that what is to be uploaded could not be read as before.
func readAgain(err error) error {
	return muster.Errorf(muster.CodeInvalid, "what is to be uploaded changed while it was read: %v", err).WithCure("try again when nothing writes to it")
}

// putPart sends one part.
func (c *Client) putPart(ctx context.Context, at []string, offset int64, data []byte) error {
	sum := sha256.Sum256(data)
	resp, err := c.send(ctx, request{method: http.MethodPut, path: append(slices.Clone(at), "parts", fmt.Sprint(offset)),
		body: io.NopCloser(bytes.NewReader(data)), size: int64(len(data)),
		header: http.Header{"Content-Type": {"application/octet-stream"}, muster.ContentSHA256Header: {hex.EncodeToString(sum[:])}}})
	if err == nil {
		resp.Body.Close()
	}
	return err
}
