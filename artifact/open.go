package artifact

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // the scheme azblob://
	_ "gocloud.dev/blob/fileblob"  // the scheme file://
	_ "gocloud.dev/blob/gcsblob"   // the scheme gs://
	_ "gocloud.dev/blob/s3blob"    // the scheme s3://

	"github.com/muster-ml/muster"
)

// stores lists the schemes of stores on the network, and where each one's
// credentials come from.
var stores = map[string]string{
	"s3":     "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or the machine's role",
	"azblob": "AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or the machine's identity",
	"gs":     "GOOGLE_APPLICATION_CREDENTIALS or the machine's service account",
}

// cureFolder is what to do about a folder that cannot be used.
const cureFolder = "name a folder with --artifacts that the server may write, on a disk with room"

// Open opens the bucket that a path or URL names: a folder, file://, s3://,
// azblob:// or gs://. It is tried before anything relies on it: a key is
// written, read and removed.
func Open(ctx context.Context, where string) (*Bucket, error) {
	scheme, rest, isURL := strings.Cut(where, "://")
	switch {
	case !isURL:
		return OpenFolder(ctx, where)
	case scheme == "file":
		u, err := url.Parse(where)
		if err != nil || u.Host != "" || u.Path == "" {
			return nil, refused(where, "it is no URL of a folder").WithCure("write file:///FOLDER, or the folder alone")
		}
		return OpenFolder(ctx, filepath.FromSlash(u.Path))
	case stores[scheme] == "" || rest == "":
		return nil, refused(where, "it names no store").WithCure("use a folder, s3://BUCKET?region=REGION, azblob://CONTAINER or gs://BUCKET")
	}
	b, err := blob.OpenBucket(ctx, where)
	if err != nil {
		return nil, refused(where, err.Error()).WithCure("check the URL, and the credentials in the server's environment: %s", stores[scheme])
	}
	return tried(ctx, &Bucket{b: b, name: plain(where)}, stores[scheme])
}

// OpenFolder opens a folder as a bucket, and makes it where it is missing.
func OpenFolder(ctx context.Context, dir string) (*Bucket, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	if err := makeFolder(dir); err != nil {
		return nil, refused(dir, err.Error()).WithCure(cureFolder)
	}
	// Without these the store would write into the system's temporary folder,
	// and an attribute file beside each blob.
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(dir), RawQuery: "no_tmp_dir=true&metadata=skip"}
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, refused(dir, err.Error()).WithCure(cureFolder)
	}
	return tried(ctx, &Bucket{b: b, name: dir, folder: &folder{dir: dir}}, "")
}

// tried proves that a bucket can be written, read and removed from.
func tried(ctx context.Context, b *Bucket, credentials string) (*Bucket, error) {
	key := "probe-" + muster.RandomID(8)
	what, err := "written", b.probe(ctx, key)
	if err == nil {
		what, err = "removed from", b.b.Delete(ctx, key)
	}
	if err == nil {
		return b, nil
	}
	b.Close()
	e := refused(b.name, fmt.Sprintf("it cannot be %s: %v", what, err))
	if credentials == "" {
		return nil, e.WithCure(cureFolder)
	}
	return nil, e.WithCure("make the bucket first, and let the server's credentials list, read, write and delete in it: %s", credentials)
}

// probe writes a key and reads it.
func (b *Bucket) probe(ctx context.Context, key string) error {
	if _, _, err := b.Put(ctx, key, "", strings.NewReader(key)); err != nil {
		return err
	}
	if n, err := b.Size(ctx, key); err != nil || n != int64(len(key)) {
		return fmt.Errorf("%d bytes were kept of %d: %w", n, len(key), err)
	}
	return nil
}

// refused says that artifacts cannot be kept there.
func refused(where, why string) *muster.Error {
	return muster.Errorf(muster.CodeInvalid, "artifacts cannot be kept in %s: %s", plain(where), why).At("artifacts")
}

// plain is a URL without what may be secret in it.
func plain(where string) string {
	u, err := url.Parse(where)
	if err != nil || u.Scheme == "" {
		return where
	}
	u.RawQuery = ""
	return u.Redacted()
}
