package muster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// PartSize is how much of a large file is sent at a time, in bytes. A transfer
// that breaks off goes on with the parts that are missing.
const PartSize = 16 << 20

// MaxPart is the largest part that is taken, in bytes.
const MaxPart = 4 * PartSize

// MaxWhole is the largest file that is made of parts, in bytes: whoever asks for
// one makes the server count its parts.
const MaxWhole = 1 << 40

// Part is a piece of a file on its way.
type Part struct {
	Offset int64 `json:"offset"` // in the file, in bytes
	Size   int64 `json:"size"`   // bytes
}

// Parts lists the parts of a file that are kept already.
type Parts struct {
	Parts []Part `json:"parts"` // by offset
}

// PartsOf cuts a file of that size into parts.
func PartsOf(size int64) (all []Part) {
	for offset := int64(0); offset < size; offset += PartSize {
		all = append(all, Part{offset, min(PartSize, size-offset)})
	}
	return all
}

// Missing returns what is not kept of a file of that size.
func (p *Parts) Missing(size int64) []Part {
	return slices.DeleteFunc(PartsOf(size), func(one Part) bool { return slices.Contains(p.Parts, one) })
}

// UploadPartsKey begins the keys of the parts of an upload, and
// ArtifactPartsKey those of an artifact of that digest.
func UploadPartsKey(workspaceID int64, sha256 string) string {
	return fmt.Sprintf("parts/%d/%s/", workspaceID, sha256)
}

// ArtifactPartsKey begins the keys of the parts of an artifact.
func ArtifactPartsKey(runID int64, attempt, instance int, sha256 string) string {
	return fmt.Sprintf("runs/%d/%d/%d/parts/%s/", runID, attempt, instance, sha256)
}

// PutPart keeps the part that begins at offset; want is its SHA-256. Where no
// part of PartsOf begins is CodeInvalid: nothing would ever be made of it.
func PutPart(ctx context.Context, b Blobs, base string, offset int64, want string, r io.Reader) error {
	if offset < 0 || offset >= MaxWhole || offset%PartSize != 0 {
		return Errorf(CodeInvalid, "no part begins at %d", offset).At("offset").WithCure("parts begin at multiples of %d below %d", PartSize, int64(MaxWhole))
	}
	_, _, err := b.Put(ctx, fmt.Sprintf("%s%016d", base, offset), want, r)
	return err
}

// ListParts returns the parts that are kept.
func ListParts(ctx context.Context, b Blobs, base string) (*Parts, error) {
	kept := &Parts{Parts: []Part{}}
	for o, err := range b.List(ctx, base) {
		if err != nil {
			return nil, err
		}
		if offset, err := strconv.ParseInt(strings.TrimPrefix(o.Key, base), 10, 64); err == nil {
			kept.Parts = append(kept.Parts, Part{offset, o.Size})
		}
	}
	return kept, nil
}

// JoinParts makes of all parts what key is to hold, and removes them. Parts that
// are missing are CodeConflict, a whole of another SHA-256 than want is ErrDigest:
// then nothing of the parts is of use, and they are removed too. A part that
// cannot be removed goes with retention.
func JoinParts(ctx context.Context, b Blobs, base, key, want string, size int64) error {
	if size > MaxWhole {
		return Errorf(CodeTooLarge, "a file of %d bytes is larger than %d", size, int64(MaxWhole)).At("size").WithCure("split it")
	}
	kept, err := ListParts(ctx, b, base)
	if err != nil {
		return err
	}
	if missing := kept.Missing(size); len(missing) > 0 {
		return Errorf(CodeConflict, "%d of %d parts are missing, the first at %d", len(missing), len(PartsOf(size)), missing[0].Offset).At("parts").
			WithCure("send them; GET of the parts lists those that are kept")
	}
	whole := &joined{ctx: ctx, blobs: b, base: base, left: PartsOf(size)}
	defer whole.Close()
	_, _, err = b.Put(ctx, key, want, whole)
	if err != nil && !errors.Is(err, ErrDigest) {
		return err
	}
	for _, p := range kept.Parts {
		if err := b.Delete(ctx, fmt.Sprintf("%s%016d", base, p.Offset)); err != nil {
			slog.WarnContext(ctx, "a part of a file that is whole stays", "error", err)
		}
	}
	return err
}

// joined reads parts one after the other.
type joined struct {
	ctx   context.Context
	blobs Blobs
	base  string
	left  []Part
	open  io.ReadCloser // the one before the first of left; nil before all
}

// Read reads on.
func (j *joined) Read(p []byte) (int, error) {
	for {
		if j.open == nil {
			if len(j.left) == 0 {
				return 0, io.EOF
			}
			r, err := j.blobs.Open(j.ctx, fmt.Sprintf("%s%016d", j.base, j.left[0].Offset), 0)
			if err != nil {
				return 0, err
			}
			j.open, j.left = r, j.left[1:]
		}
		n, err := j.open.Read(p)
		if err != io.EOF {
			return n, err
		}
		j.Close()
		if n > 0 {
			return n, nil
		}
	}
}

// Close closes what is open.
func (j *joined) Close() {
	if j.open != nil {
		j.open.Close()
		j.open = nil
	}
}
