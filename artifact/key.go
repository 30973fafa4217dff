package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// What a folder can hold: the store writes under a name that is 21 bytes longer
// first, and a file's name has 255 at most. A path has 4096, with that of the
// folder itself. A store on the network holds keys of 1024 bytes, with what is
// escaped in them.
const (
	maxPart   = 200 // bytes between two slashes
	maxKey    = 2000
	maxRemote = 600
	maxHead   = 400 // what stays readable of a longer key
)

// fit turns a key into one that the bucket can hold, two of them never into the
// same: parts that it cannot hold are named by their SHA-256 instead, and so is
// the end of a key that is too long as a whole.
func (b *Bucket) fit(key string) string {
	if b.folder == nil {
		return fit(key, maxRemote)
	}
	return fit(key, maxKey)
}

// fit turns a key into one of at most that many bytes.
func fit(key string, most int) string {
	parts := strings.Split(key, "/")
	for i, part := range parts {
		if !holds(part) {
			parts[i] = hashed(part)
		}
	}
	name := strings.Join(parts, "/")
	if len(name) <= most {
		return name
	}
	return name[:strings.LastIndexByte(name[:maxHead], '/')+1] + hashed(key)
}

// holds reports whether the store keeps a part of a key under its own name:
// ".attrs" is reserved to it, and what it escapes becomes longer, or one with
// the next part. What looks like a hash is taken for one.
func holds(part string) bool {
	odd := func(r rune) bool { return r < ' ' || r == utf8.RuneError }
	return len(part) <= maxPart && !strings.HasSuffix(part, ".attrs") && !strings.HasSuffix(part, "..") && !strings.Contains(part, "__0x") &&
		!strings.ContainsFunc(part, odd) && (part == "" || part[0] != '~' || len(part) != len(hashed("")))
}

// hashed names something by its SHA-256.
func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "~" + hex.EncodeToString(sum[:])
}
