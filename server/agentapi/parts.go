package agentapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/muster-ml/muster"
)

// partsKey finds where the parts of a file of the caller's are kept.
func partsKey(r *http.Request, c *caller) (string, error) {
	sum := r.PathValue("sha256")
	if err := muster.CheckSHA256(sum); err != nil {
		return "", err
	}
	return muster.ArtifactPartsKey(c.launch.RunID, c.launch.Attempt, c.instance.Index, sum), nil
}

// listParts tells which parts of a file are kept.
func (a *API) listParts(w http.ResponseWriter, r *http.Request, c *caller) error {
	base, err := partsKey(r, c)
	if err != nil {
		return err
	}
	kept, err := muster.ListParts(r.Context(), a.Blobs, base)
	if err != nil {
		return err
	}
	return answer(w, kept)
}

// putPart keeps a part of a file. The same one may come again.
func (a *API) putPart(w http.ResponseWriter, r *http.Request, c *caller) error {
	base, err := partsKey(r, c)
	if err != nil {
		return err
	}
	offset, err := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if err != nil || offset < 0 || offset > a.MaxArtifact {
		return muster.Errorf(muster.CodeInvalid, "a file has no part at %s", r.PathValue("offset"))
	}
	err = muster.PutPart(r.Context(), a.Blobs, base, offset, r.Header.Get(muster.ContentSHA256Header), http.MaxBytesReader(w, r.Body, muster.MaxPart))
	switch {
	case errors.Is(err, muster.ErrDigest):
		return muster.Errorf(muster.CodeUnreachable, "the part arrived with another content than its digest says").WithCure("send it again")
	case errTooLarge(err):
		return muster.Errorf(muster.CodeTooLarge, "a part has at most %d bytes", muster.MaxPart)
	case err != nil:
		return err
	}
	return answer(w, struct{}{})
}
