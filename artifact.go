package muster

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// Artifact is a file that a run produced, kept after its node is gone. Its path
// begins with "outputs/" for the ./outputs folder and with the output's name
// for a named one. In the view of one level it may be a folder: its path ends
// with a slash, and it has the size and number of all files below it.
type Artifact struct {
	Path      string    `json:"path"`
	Size      int64     `json:"size"`            // bytes
	Files     int       `json:"files,omitempty"` // of a folder
	SHA256    string    `json:"sha256"`          // hex; "" of a folder
	Attempt   int       `json:"attempt"`         // 0 of a folder
	Instance  int       `json:"instance"`
	CreatedAt time.Time `json:"created_at"`          // of a folder, its newest file's
	DeletedAt time.Time `json:"deleted_at,omitzero"` // by retention: the bytes are gone
}

// ArtifactQuery chooses a page of a run's artifacts.
type ArtifactQuery struct {
	Prefix  string // only paths that begin so
	After   string // only paths behind this one: the page's cursor
	Limit   int    // at most this many
	Folders bool   // one level: what has a slash behind the prefix is summed up as a folder
}

// ArtifactPage is a page of a list of artifacts, by path.
type ArtifactPage struct {
	Artifacts []*Artifact `json:"artifacts"`
	Next      string      `json:"next,omitempty"` // the cursor of the next page; "" at the end
	RemovedAt time.Time   `json:"removed_at,omitzero" doc:"When retention removed the run's files, where there is none for that reason."`
}

// Artifacts keeps the rows of artifacts; the bytes are a Blobs'.
type Artifacts interface {
	PutArtifact(ctx context.Context, runID int64, a *Artifact) error               // replaces one of the same path; CodeForbidden once the attempt is over
	FindArtifact(ctx context.Context, runID int64, path string) (*Artifact, error) // one that retention removed too
	// DropArtifact forgets an artifact. One that is not there is no error;
	// CodeForbidden once the attempt is over.
	DropArtifact(ctx context.Context, runID int64, attempt int, path string) error
	// ListArtifacts returns what is kept, by path, and SumArtifacts what it is in
	// sum below each first part of a path.
	ListArtifacts(ctx context.Context, runID int64, q ArtifactQuery) ([]*Artifact, error)
	SumArtifacts(ctx context.Context, runID int64) (map[string]OutputSum, error)
}

// ErrDigest says that bytes are not those that were promised.
var ErrDigest = Errorf(CodeInvalid, "the bytes have another SHA-256 than they should")

// Blobs keeps bytes by key. Keys are slash-separated paths without "..".
type Blobs interface {
	// Put stores what r holds and returns its size and SHA-256 in hex. Bytes of
	// another SHA-256 than want are ErrDigest; "" wants none. When it returns
	// without an error the bytes are durable; before that the key is as it was.
	Put(ctx context.Context, key, want string, r io.Reader) (size int64, sha256 string, err error)
	// Open returns the bytes from offset on; CodeNotFound without the key.
	Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error)
	// Size returns the size of what the key holds; CodeNotFound without it.
	Size(ctx context.Context, key string) (int64, error)
	// List yields what is kept under the keys that begin with prefix, by key.
	List(ctx context.Context, prefix string) iter.Seq2[Blob, error]
	// Delete removes the key; one that is not there is no error.
	Delete(ctx context.Context, key string) error
}

// Blob is what a key holds, without the bytes.
type Blob struct {
	Key  string
	Size int64     // bytes
	At   time.Time // when it was written, by the store's clock
}

// UploadKey is the key of an upload of a workspace.
func UploadKey(workspaceID int64, sha256 string) string {
	return fmt.Sprintf("uploads/%d/%s", workspaceID, sha256)
}

// ArtifactKey is the key of an artifact's bytes.
func ArtifactKey(runID int64, attempt, instance int, path string) string {
	return fmt.Sprintf("runs/%d/%d/%d/artifacts/%s", runID, attempt, instance, path)
}

// Stream is one of a process's two outputs.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// LogID names one log: a stream of a rank of an instance of an attempt.
type LogID struct {
	RunID    int64
	Attempt  int
	Instance int
	Rank     int
	Stream   Stream
}

// ChunkKey is the key of the log's chunk that begins at offset. Chunks are
// immutable and leave no gap: behind one of n bytes at offset comes offset + n.
func (l LogID) ChunkKey(offset int64) string {
	return fmt.Sprintf("runs/%d/%d/%d/logs/%d/%s/%016d", l.RunID, l.Attempt, l.Instance, l.Rank, l.Stream, offset)
}

// TimesKey is the key of the times of the chunk that begins at offset. One of an
// older agent has none.
func (l LogID) TimesKey(offset int64) string { return l.ChunkKey(offset) + ".times" }

// ChunksKey begins the keys of the log's chunks.
func (l LogID) ChunksKey() string {
	return strings.TrimSuffix(l.ChunkKey(0), fmt.Sprintf("%016d", 0))
}

// MaxChunk is the largest log chunk, in bytes.
const MaxChunk = 1 << 20

// Chunk is a piece of a log on its way to a reader.
type Chunk struct {
	Attempt  int    `json:"attempt"`
	Instance int    `json:"instance"`
	Stream   Stream `json:"stream"`
	Offset   int64  `json:"offset"` // in the log, in bytes
	Data     []byte `json:"data"`   // base64 in JSON
	Marks    []Mark `json:"marks"`  // when it was written; the first is at Offset
}

// Metric is a number in time that a run logged.
type Metric struct {
	Name    string    `json:"name"`
	Value   float64   `json:"value"`
	Step    int64     `json:"step"`
	Time    time.Time `json:"time"`
	Attempt int       `json:"attempt,omitempty"` // that logged it
}

// Parameter is a word that a run was given or logged.
type Parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Metrics keeps metrics and parameters.
type Metrics interface {
	// LogMetrics keeps what an instance logged. batch numbers the calls of an
	// attempt's instance from 0; one that was kept already is passed over.
	LogMetrics(ctx context.Context, at MetricsBatch, metrics []Metric, params []Parameter) error
	ListMetrics(ctx context.Context, runID int64, q MetricQuery) ([]Metric, error)           // by name, step and time
	LatestMetrics(ctx context.Context, runIDs []int64) (map[int64]map[string]float64, error) // by run and name
	ListParameters(ctx context.Context, runIDs []int64) (map[int64]map[string]string, error) // by run and name
}

// MetricQuery chooses metrics.
type MetricQuery struct {
	Name    string // "" is all
	Attempt int    // 0 is of each step the last attempt that has logged it
}

// MetricsBatch names a batch of metrics, so that it is kept once.
type MetricsBatch struct {
	RunID    int64
	Attempt  int
	Instance int
	Batch    int64
}

// CheckpointPrefix begins the paths of the files of an instance's checkpoint
// folder. They are artifacts: each attempt of the run begins with those that the
// ones before it have left.
func CheckpointPrefix(instance int) string {
	if instance == 0 {
		return "checkpoint/"
	}
	return fmt.Sprintf("instance-%d/checkpoint/", instance)
}
