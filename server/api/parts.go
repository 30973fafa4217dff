package api

import (
	"context"
	"errors"
	"io"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// inPart names a part of an upload, and holds its bytes.
type inPart struct {
	InWorkspace
	SHA256 string `path:"sha256" doc:"Of the whole, in hex."`
	Offset int64  `path:"offset" minimum:"0" doc:"Of the part in the whole, in bytes."`
	Digest string `header:"Content-SHA256" doc:"Of the part, in hex; left out it is not checked."`
	bytes  io.Reader
}

// Resolve keeps the request's body: it is a stream and read only once.
func (in *inPart) Resolve(ctx huma.Context) []error {
	in.bytes = patient{ctx}
	return nil
}

// InWhole names an upload by its digest.
type InWhole struct {
	InWorkspace
	SHA256 string `path:"sha256" doc:"Of the whole, in hex."`
}

// registerParts registers what makes an upload of parts: one that breaks off
// goes on with those that are missing.
func (a *API) registerParts() {
	const upload = "/workspaces/{workspace}/uploads/{sha256}"
	handle(a, operation{"GET", upload + "/parts", "list-parts", "List the parts of an upload that are here", 200, "uploads", muster.RoleContributor},
		func(ctx context.Context, in *InWhole) (*body[*muster.Parts], error) {
			base, _, err := a.partsKey(ctx, in)
			if err != nil {
				return nil, err
			}
			return ok(muster.ListParts(ctx, a.Blobs, base))
		})
	handle(a, operation{"PUT", upload + "/parts/{offset}", "put-part", "Upload a part", 204, "uploads", muster.RoleContributor},
		func(ctx context.Context, in *inPart) (*struct{}, error) { return nil, a.putPart(ctx, in) })
	handle(a, operation{"POST", upload + "/complete", "complete-upload", "Make an upload of all its parts", 204, "uploads", muster.RoleContributor},
		func(ctx context.Context, in *struct {
			InWhole
			Size int64 `query:"size" minimum:"1" required:"true" doc:"Of the whole, in bytes."`
		}) (*struct{}, error) {
			return nil, a.completeUpload(ctx, &in.InWhole, in.Size)
		})
}

// partsKey finds where the parts of an upload are kept, and the workspace.
func (a *API) partsKey(ctx context.Context, in *InWhole) (base string, workspaceID int64, err error) {
	workspaceID, err = a.uploadsOf(ctx, in.InWorkspace, in.SHA256)
	return muster.UploadPartsKey(workspaceID, in.SHA256), workspaceID, err
}

// putPart keeps a part. The same one may come again.
func (a *API) putPart(ctx context.Context, in *inPart) error {
	base, _, err := a.partsKey(ctx, &InWhole{in.InWorkspace, in.SHA256})
	if err != nil {
		return err
	}
	limited := &io.LimitedReader{R: in.bytes, N: muster.MaxPart + 1}
	err = muster.PutPart(ctx, a.Blobs, base, in.Offset, in.Digest, &atMost{limited})
	if errors.Is(err, muster.ErrDigest) {
		return muster.Errorf(muster.CodeInvalid, "the part arrived with another content than its digest says").At("Content-SHA256").WithCure("send it again")
	}
	return err
}

// completeUpload makes an upload of its parts.
func (a *API) completeUpload(ctx context.Context, in *InWhole, size int64) error {
	base, workspace, err := a.partsKey(ctx, in)
	if err != nil {
		return err
	}
	if a.seeUpload(ctx, workspace, in.SHA256) == nil {
		return nil // somebody else has brought it meanwhile
	}
	err = muster.JoinParts(ctx, a.Blobs, base, muster.UploadKey(workspace, in.SHA256), in.SHA256, size)
	if err != nil && a.seeUpload(ctx, workspace, in.SHA256) == nil {
		return nil // somebody else has made it of the same parts
	}
	if errors.Is(err, muster.ErrDigest) {
		return muster.Errorf(muster.CodeInvalid, "the parts together have another SHA-256 than %s", in.SHA256).At("sha256").WithCure("send all of them again")
	}
	return err
}

// atMost refuses a part that is too large.
type atMost struct{ *io.LimitedReader }

// Read reads on.
func (r *atMost) Read(p []byte) (int, error) {
	n, err := r.LimitedReader.Read(p)
	if r.N <= 0 {
		return 0, muster.Errorf(muster.CodeTooLarge, "a part has at most %d bytes", muster.MaxPart)
	}
	return n, err
}
