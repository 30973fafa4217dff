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
	Workspaces     muster.Workspaces
	Experiments    muster.Experiments
	Clusters       muster.Clusters
	Nodes          muster.Nodes
	Sizes          muster.Sizes
	Autoscaling    muster.Autoscaling
	Runs           muster.Runs
	Attempts       muster.Attempts
	Events         muster.Events
	Artifacts      muster.Artifacts
	Blobs          muster.Blobs
	Archive        muster.Archive
	Retention      muster.Retention
	Metrics        muster.Metrics
	Stats          muster.Stats
	Tokens         muster.Tokens
	Registries     muster.Registries
	Fitness        muster.Fitness
	ClusterSecrets muster.ClusterSecrets
	Vault          muster.Vault
	Policies       func(ctx context.Context) (*muster.Policies, error)
	RunOf          func(ctx context.Context, token string) (*muster.Principal, error) // whose code a workload identity belongs to; may be nil
	Audit          muster.Audit
	Changes        muster.Changes
	Receipts       muster.Receipts
	Issuer         muster.Issuer // whom it believes about people; may be nil

	Limits  Limits
	Origins []string // of pages that may call; none without any
	Site    muster.Site
	Called  func(ctx context.Context, principal string) // told who made a request; may be nil
	Wake    func()                                      // rings the controller after a write
	Closing <-chan struct{}                             // closed when streams are to end; may be nil
	Logger  *slog.Logger
}

// API serves the routes below /api/v1.
type API struct {
	Services
	huma    huma.API
	mux     *http.ServeMux
	handler http.Handler // the mux, and who may call it from other pages
	twins   twins
	limiter *limiter
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
	once.Do(func() {
		huma.NewError, huma.NewErrorWithContext, huma.DefaultArrayNullable = newProblem, newProblemOf, false
	})
	a := &API{Services: s, mux: http.NewServeMux(), twins: twins{busy: map[string]chan struct{}{}}, limiter: newLimiter(s.Limits)}
	a.handler = crossOrigin(a.mux, s.Origins)
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
	a.registerRetention()
	a.registerStreams()
	a.completeDocument()
	if err := a.servePage(); err != nil {
		panic("api: " + err.Error()) // of our own template and document: every test would fail
	}
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
	ctx := context.WithValue(r.Context(), requestKey{}, id)
	ctx = context.WithValue(ctx, conditionsKey{}, conditionsIn(r))
	a.handler.ServeHTTP(w, r.WithContext(ctx))
}

type (
	requestKey   struct{}
	principalKey struct{}
)

// origin says who made the request of ctx.
func origin(ctx context.Context) muster.Origin {
	id, _ := ctx.Value(requestKey{}).(string)
	receipt, _ := ctx.Value(receiptKey{}).(*muster.Receipt)
	return muster.Origin{Actor: principal(ctx).Name, RequestID: id, Versions: conditionsOf(ctx).versions(), Receipt: receipt}
}

// refuse answers a request that goes no further.
func (a *API) refuse(ctx huma.Context, err error) {
	p := a.problem(ctx.Context(), err)
	if e := huma.WriteErr(a.huma, ctx, p.Status, p.Detail, p); e != nil && ctx.Context().Err() == nil {
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

// limit is the largest body that the route takes, in bytes.
func (o operation) limit() int64 {
	if o.id == "create-runs" {
		return 4 * maxBody
	}
	return maxBody
}

// handle registers a route whose answer is JSON, or a stream.
func handle[I, O any](a *API, o operation, f func(ctx context.Context, in *I) (*O, error)) {
	_, single := any(new(O)).(tagged)
	about := huma.Operation{
		OperationID: o.id, Method: o.method, Path: base + o.path, Summary: o.summary, Tags: []string{o.tag},
		DefaultStatus: o.status, MaxBodyBytes: o.limit(), BodyReadTimeout: bodyTime,
		Errors:      o.refusals(),
		Middlewares: huma.Middlewares{a.guard(o), a.knownQuery},
		Metadata:    map[string]any{bodyKey: bodyOf(reflect.TypeFor[I]())},
	}
	if o.role == anybody {
		about.Security = []map[string][]string{{}}
	}
	if single && o.method == http.MethodGet {
		about.Parameters = append(about.Parameters, headerParam("If-None-Match", "An ETag of before: 304 when nothing has changed.", ""))
		about.Responses = map[string]*huma.Response{"304": {Description: "Not Modified"}}
	}
	if conditional[o.id] {
		about.Parameters = append(about.Parameters, headerParam("If-Match", "The ETag that was seen: 412 when somebody has changed it since.", ""))
	}
	if o.method == http.MethodPost {
		about.Parameters = append(about.Parameters, headerParam(muster.IdempotencyKeyHeader, "A name of the request, such as a UUID: the same one, sent again within 24 hours, is not carried out again and gets the same answer.", ""))
		about.Middlewares = append(about.Middlewares, a.onlyOnce(o))
	}
	if o.id == "create-run" {
		about.Middlewares = append(about.Middlewares, a.jobFiles(o))
	}
	huma.Register(a.huma, about, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		tellMade(ctx, o, out)
		if t, is := any(out).(tagged); is {
			if err := t.tag(conditionsOf(ctx)); err != nil {
				return nil, a.problem(ctx, err)
			}
		}
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
