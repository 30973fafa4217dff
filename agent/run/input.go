package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
	"github.com/muster-ml/muster/bundle"
	"github.com/muster-ml/muster/client"
)

// The tries for bytes that arrive damaged and for a web server that fails.
const (
	damagedTries = 4
	webTries     = 6
)

// bringCode unpacks the code into the working folder.
func (a *agent) bringCode(ctx context.Context) error {
	sum, _ := a.spec().Code.Upload()
	if err := a.unpackUpload(ctx, sum, partWork); err != nil {
		return fmt.Errorf("code: %w", err)
	}
	return a.handOver(partWork)
}

// bringInputs brings every input, and remembers what the command is to read for
// it: the literal, or a path.
func (a *agent) bringInputs(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(a.spec().Inputs)) {
		in := a.spec().Inputs[name]
		if in.Literal != nil {
			a.inputs[name] = *in.Literal
			continue
		}
		value, err := a.bringInput(ctx, name, in)
		if err != nil {
			f := asFailure(err)
			return failed(f.fault, "input %s: %s", name, f.text)
		}
		a.inputs[name] = value
		if in.Mode == muster.ModeROMount || in.Mode == muster.ModeDirect {
			a.reporter.note(fmt.Sprintf("input %s: %s acts as download", name, in.Mode))
		}
	}
	return nil
}

// bringInput brings one input and makes it read-only.
func (a *agent) bringInput(ctx context.Context, name string, in muster.Input) (value string, err error) {
	part := filepath.Join(partInputs, name)
	dir := a.folder.path(part)
	if sum, ok := in.Ref.Upload(); ok {
		err = a.unpackUpload(ctx, sum, part)
	} else {
		err = a.download(ctx, string(in.Ref), dir)
	}
	if err != nil {
		return "", err
	}
	if value = dir; in.Type == muster.TypeURIFile {
		if value, err = onlyFile(dir); err != nil {
			return "", err
		}
	}
	return value, a.makeReadOnly(dir)
}

// onlyFile returns the one file in a folder.
func onlyFile(dir string) (string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(list) != 1 || list[0].IsDir() {
		return "", failed(muster.FaultCommand, "it is a folder, and its type says uri_file")
	}
	return filepath.Join(dir, list[0].Name()), nil
}

// unpackUpload fetches an upload and unpacks it into a part of the folder. It
// is tried again, into an empty folder, while the connection breaks off.
func (a *agent) unpackUpload(ctx context.Context, sum, part string) error {
	dir := a.folder.path(part)
	var damaged damage
	return ship.Retry(ctx, func(ctx context.Context) error {
		if err := emptyFolder(dir); err != nil {
			return orNil(err)
		}
		body, err := a.client.Upload(ctx, sum)
		if muster.CodeOf(err) == muster.CodeNotFound {
			return failed(muster.FaultPlatform, "the upload %.12s is not kept any more", sum)
		}
		if err != nil {
			return err
		}
		defer body.Close()
		hash := sha256.New()
		bytes := io.TeeReader(body, hash)
		unpacked := bundle.Unpack(bytes, dir, bundle.DefaultLimits)
		if diskFull(unpacked) {
			return orNil(unpacked)
		}
		_, read := io.Copy(io.Discard, bytes)
		if read != nil || hex.EncodeToString(hash.Sum(nil)) != sum {
			return damaged.again(fmt.Sprintf("the upload %.12s", sum), errors.Join(read, unpacked))
		}
		if muster.CodeOf(unpacked) == muster.CodeInvalid {
			return failed(muster.FaultCommand, "%v", unpacked)
		}
		return orNil(unpacked)
	})
}

// damage counts how often a thing arrived damaged.
type damage int

// again has it fetched once more, with the cause, or gives up.
func (d *damage) again(what string, cause error) error {
	if *d++; *d < damagedTries {
		return muster.Errorf(muster.CodeUnreachable, "%s arrived damaged: %v", what, cause)
	}
	return failed(muster.FaultPlatform, "%s arrived damaged %d times", what, *d)
}

// orNil keeps a nil error nil, and makes a failure of any other, which no later
// try cures.
func orNil(err error) error {
	if err == nil {
		return nil
	}
	return asFailure(err)
}

// emptyFolder makes a folder anew, with its owner and mode where it was there.
func emptyFolder(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Mkdir(dir, 0o755)
	}
	for _, d := range list {
		if err := os.RemoveAll(filepath.Join(dir, d.Name())); err != nil {
			return err
		}
	}
	return err
}

// download fetches a file from the web into a folder.
func (a *agent) download(ctx context.Context, target, dir string) error {
	at, err := url.Parse(target)
	if err != nil {
		return failed(muster.FaultCommand, "%s is no URL", target)
	}
	name := path.Base(at.Path)
	if name == "/" || name == "." || name == ".." {
		name = "data"
	}
	wait := 500 * time.Millisecond
	for try := 1; ; try++ {
		if err = emptyFolder(dir); err != nil {
			return err
		}
		if err = fetch(ctx, at, filepath.Join(dir, filepath.Base(name))); err == nil || ctx.Err() != nil {
			return err
		}
		if f, ok := errors.AsType[*failure](err); ok && f.fault == muster.FaultCommand || diskFull(err) || try == webTries {
			return err
		}
		ship.Pause(ctx, wait)
		wait *= 2
	}
}

// fetch makes one try. An answer that says that the request was wrong is the
// user's fault, any other trouble that of the platform.
func fetch(ctx context.Context, at *url.URL, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return failed(muster.FaultCommand, "%s is no URL", at)
	}
	resp, err := webClient.Do(req)
	if err != nil {
		return failed(muster.FaultPlatform, "%s cannot be reached: %v", at.Redacted(), err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout:
		return failed(muster.FaultPlatform, "%s answers %d", at.Redacted(), resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return failed(muster.FaultCommand, "%s answers %d", at.Redacted(), resp.StatusCode)
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, resp.Body); err != nil && !diskFull(err) {
		err = failed(muster.FaultPlatform, "%s broke off: %v", at.Redacted(), err)
	}
	return errors.Join(err, out.Close())
}

// webClient fetches inputs. A server that accepts the call and then says
// nothing, or stops in the middle, is given up.
var webClient = &http.Client{Transport: &http.Transport{
	Proxy: http.ProxyFromEnvironment, DialContext: client.Dial(time.Minute), ResponseHeaderTimeout: time.Minute,
}}

// handOver gives a part of the folder to the run-as user.
func (a *agent) handOver(part string) error {
	if !a.user.Change {
		return nil
	}
	return a.eachEntry(a.folder.path(part), func(root *os.Root, name string, d fs.DirEntry) error {
		return root.Lchown(name, a.user.UID, a.user.GID)
	})
}

// makeReadOnly takes the right to write away from all below a folder.
func (a *agent) makeReadOnly(dir string) error {
	return a.eachEntry(dir, func(root *os.Root, name string, d fs.DirEntry) error {
		if d.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return root.Chmod(name, info.Mode().Perm()&0o555)
	})
}

// eachEntry calls f with everything below a folder and the folder itself, as
// names in a root that is the folder.
func (a *agent) eachEntry(dir string, f func(root *os.Root, name string, d fs.DirEntry) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return f(root, name, d)
	})
}
