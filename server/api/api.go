// Package api is the people's front door: REST with an OpenAPI 3.1 document,
// problems by RFC 9457, and streams of events and logs that resume by number.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/muster-ml/muster"
)

// Services are what the door leads to.
type Services struct {
	Workspaces  muster.Workspaces
	Experiments muster.Experiments
	Clusters    muster.Clusters
	Nodes       muster.Nodes
	Runs        muster.Runs
	Attempts    muster.Attempts
	Events      muster.Events
	Artifacts   muster.Artifacts
	Blobs       muster.Blobs
	Metrics     muster.Metrics
	Tokens      muster.Tokens
	Registries  muster.Registries
	Vault       muster.Vault
	RunOf       func(ctx context.Context, token string) (*muster.Principal, error) // whose code a workload identity belongs to; may be nil
	Audit       muster.Audit
	Issuer      muster.Issuer // whom it believes about people; may be nil

	Site    muster.Site
	Wake    func()          // rings the controller after a write
	Closing <-chan struct{} // closed when streams are to end; may be nil
	Logger  *slog.Logger
}

// API serves the routes below /api/v1.
type API struct {
	Services
	huma huma.API
	mux  *http.ServeMux
}

// base is the path that every route begins with.
const base = "/api/v1"

// maxBody is the largest JSON body, in bytes.
const maxBody = 4 << 20

// once makes huma answer errors as we do, and say that no list is null. Huma
// keeps this in variables.
var once sync.Once

// New returns the door.
func New(s Services) *API {
	once.Do(func() { huma.NewError, huma.DefaultArrayNullable = newProblem, false })
	a := &API{Services: s, mux: http.NewServeMux()}
	config := huma.DefaultConfig("Muster", muster.Version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = base+"/openapi", "", base+"/schemas" // huma's page of documentation needs the internet
	config.CreateHooks = nil                                                                       // no $schema in answers
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	config.Security = []map[string][]string{{"token": {}}}
	for _, number := range []reflect.Type{reflect.TypeFor[muster.Duration](), reflect.TypeFor[muster.Amount]()} {
		config.Components.Schemas.RegisterTypeAlias(number, reflect.TypeFor[float64]())
	}
	config.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[muster.Secret](), reflect.TypeFor[string]())
	a.huma = humago.New(a.mux, config)
	a.registerTokens()
	a.registerRegistries()
	a.registerAudit()
	a.registerWorkspaces()
	a.registerClusters()
	a.registerRuns()
	a.registerData()
	a.registerParts()
	a.registerStreams()
	a.completeDocument()
	a.mux.HandleFunc("/", a.unknown)
	return a
}

// ServeHTTP serves a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 64 {
		id = muster.RandomID(8)
	}
	w.Header().Set("X-Request-Id", id)
	a.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, id)))
}

type (
	requestKey   struct{}
	principalKey struct{}
)

// origin says who made the request of ctx.
func origin(ctx context.Context) muster.Origin {
	id, _ := ctx.Value(requestKey{}).(string)
	return muster.Origin{Actor: principal(ctx).Name, RequestID: id}
}

// refuse answers a request that goes no further.
func (a *API) refuse(ctx huma.Context, err error) {
	p := a.problem(ctx.Context(), err)
	if e := huma.WriteErr(a.huma, ctx, p.Status, p.Detail, p); e != nil {
		a.Logger.Warn("answer a refusal", "error", e)
	}
}

// unknown answers for routes that do not exist, or not with this method.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := a.mux.Handler(probe); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	err := muster.Errorf(muster.CodeNotFound, "there is no route %s", r.URL.Path).WithCure("%s/docs shows what there is", base)
	p := toProblem(err)
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		p = toProblem(muster.Errorf(muster.CodeInvalid, "%s takes %s, not %s", r.URL.Path, strings.Join(allowed, " or "), r.Method))
		p.Status, p.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
	}
	p.write(w)
}

// operation describes a route: in the document, and to its guard.
type operation struct {
	method, path string
	id, summary  string
	status       int
	tag          string
	role         muster.Role // the least that it takes, in the workspace of its path
}

// handle registers a route whose answer is JSON, or a stream.
func handle[I, O any](a *API, o operation, f func(ctx context.Context, in *I) (*O, error)) {
	about := huma.Operation{
		OperationID: o.id, Method: o.method, Path: base + o.path, Summary: o.summary, Tags: []string{o.tag},
		DefaultStatus: o.status, MaxBodyBytes: maxBody,
		Errors:      []int{400, 401, 403, 404, 409, 422, 500, 503},
		Middlewares: huma.Middlewares{a.guard(o)},
	}
	if o.role == anybody {
		about.Security = []map[string][]string{{}}
	}
	huma.Register(a.huma, about, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		tellMade(ctx, o, out)
		return out, nil
	})
}

// body is an answer of JSON.
type body[T any] struct{ Body T }

// ok wraps an answer.
func ok[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{v}, nil
}

// list wraps an answer that is a list: an empty one is [], not null.
func list[T any](all []T, err error) (*body[[]T], error) {
	if all == nil {
		all = []T{}
	}
	return ok(all, err)
}
