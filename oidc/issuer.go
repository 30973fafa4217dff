package oidc

import (
	"cmp"
	"context"
	"errors"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"

	"github.com/muster-ml/muster"
)

// Config says which issuer the server believes, and what its groups may do.
type Config struct {
	Issuer      string   // its URL
	ClientID    string   // under which the CLI is registered there
	Audience    string   // for whom tokens must be meant; "" is ClientID
	Scopes      []string // that the CLI asks for
	NameClaim   string   // which claim names the person; "sub" where it is missing
	GroupsClaim string
	Rules       []Rule
}

// Rule gives the members of a group a role.
type Rule struct {
	Group string // "*" is everybody whom the issuer knows
	Grant muster.Grant
}

// ReadRule reads GROUP=ROLE or GROUP=ROLE@WORKSPACE. Without a workspace it is
// every workspace. A group may hold "=" itself.
func ReadRule(s string) (Rule, error) {
	at := strings.LastIndex(s, "=")
	if at < 1 {
		return Rule{}, muster.Errorf(muster.CodeInvalid, "%q gives no role", s).WithCure("write GROUP=ROLE or GROUP=ROLE@WORKSPACE, such as ml-team=contributor@vision")
	}
	g, err := muster.ReadGrant(s[at+1:])
	return Rule{Group: s[:at], Grant: g}, err
}

// Issuer checks the tokens of one issuer. It asks the issuer when it needs to:
// one that is away when the server starts is no hindrance.
type Issuer struct {
	Config
	verifier atomic.Pointer[oidc.IDTokenVerifier] // nil until the issuer has answered
	asking   singleflight.Group                   // of the question, until then
	silence  atomic.Pointer[silence]              // how the last question went, when it went wrong
}

// silence is a question that the issuer did not answer.
type silence struct {
	err   error
	until time.Time // it is not asked again before
}

// askAgain is how long after an issuer did not answer it is asked again.
const askAgain = 3 * time.Second

// New makes a checker; the issuer need not answer yet.
func New(c Config) (*Issuer, error) {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is no URL of an OpenID issuer", c.Issuer).At("oidc-issuer").WithCure("write it as the issuer does, like https://login.example.com")
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is not encrypted: whoever is on the way could put his own keys in the place of the issuer's", c.Issuer).
			At("oidc-issuer").WithCure("give its https URL; http is for an issuer on this machine")
	}
	if c.ClientID == "" {
		return nil, muster.Errorf(muster.CodeInvalid, "an OpenID issuer needs a client id").At("oidc-client-id").
			WithCure("register Muster there as a public client with the redirect http://127.0.0.1/callback, and give its id")
	}
	if len(c.Rules) == 0 {
		return nil, muster.Errorf(muster.CodeInvalid, "nobody of the OpenID issuer may do anything").At("oidc-role").WithCure("give somebody a role, such as --oidc-role '*=reader'")
	}
	return &Issuer{Config: c}, nil
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Login tells how people log in.
func (i *Issuer) Login() muster.OIDCLogin {
	return muster.OIDCLogin{Issuer: i.Issuer, ClientID: i.ClientID, Scopes: i.Scopes}
}

// Identify returns whom a token names.
func (i *Issuer) Identify(ctx context.Context, token string) (*muster.Principal, error) {
	v, err := i.ready(ctx)
	if err != nil {
		return nil, err
	}
	t, err := v.Verify(ctx, token)
	if err != nil {
		return nil, i.refuse(err)
	}
	claims := map[string]any{}
	if err := t.Claims(&claims); err != nil {
		return nil, i.refuse(err)
	}
	name, err := i.name(t.Subject, claims)
	if err != nil {
		return nil, err
	}
	return &muster.Principal{Name: name, Grants: i.grants(words(claims[i.GroupsClaim])), ExpiresAt: t.Expiry.UTC()}, nil
}

// ready returns the verifier; the first call asks the issuer. Its keys are kept,
// and asked for again when a token has one that is not known. Who comes while it
// is asked waits for the same answer, and who comes right after it gave none
// hears so at once: callers who prove nothing must not make it questions.
func (i *Issuer) ready(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	if v := i.verifier.Load(); v != nil {
		return v, nil
	}
	answer := i.asking.DoChan("", func() (any, error) { return nil, i.ask(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case a := <-answer:
		return i.verifier.Load(), a.Err
	}
}

// ask asks the issuer, unless that is settled. The library goes on using ctx
// when it fetches keys later.
func (i *Issuer) ask(ctx context.Context) error {
	if i.verifier.Load() != nil {
		return nil
	}
	if s := i.silence.Load(); s != nil && time.Now().Before(s.until) {
		return s.err
	}
	p, err := discover(ctx, i.Issuer)
	if err != nil {
		i.silence.Store(&silence{err: err, until: time.Now().Add(askAgain)})
		return err
	}
	i.verifier.Store(p.Verifier(&oidc.Config{ClientID: cmp.Or(i.Audience, i.ClientID)}))
	return nil
}

// refuse says why a token is not believed.
func (i *Issuer) refuse(err error) error {
	if isAway(err) {
		return away(i.Issuer, err)
	}
	e := muster.Errorf(muster.CodeUnauthenticated, "this token of %s is not accepted: %v", i.Issuer, err)
	if expired, is := errors.AsType[*oidc.TokenExpiredError](err); is {
		e = muster.Errorf(muster.CodeUnauthenticated, "this token of %s expired at %s", i.Issuer, expired.Expiry.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return e.WithCure("log in again: muster login --oidc")
}

// maxName is the longest name of a person, in bytes.
const maxName = 256

// name chooses how a person is called. An address of which the issuer does not
// say that it is verified, although it speaks of that, could be anybody's. And
// what is no address is marked: it could be the name of one of our tokens, of a
// run's code or of a part of Muster, and no event may take the one for the other.
func (i *Issuer) name(subject string, claims map[string]any) (string, error) {
	name, _ := claims[i.NameClaim].(string)
	if verified, told := claims["email_verified"]; i.NameClaim == "email" && told && verified != true && verified != "true" {
		name = ""
	}
	name = cmp.Or(name, subject)
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) {
		return "", muster.Errorf(muster.CodeUnauthenticated, "this token of %s names nobody", i.Issuer).WithCure("choose another claim by --oidc-name-claim")
	}
	if a, err := mail.ParseAddress(name); err != nil || a.Address != name {
		name = "oidc:" + name
	}
	return name, nil
}

// grants lists what the rules give to members of the groups.
func (i *Issuer) grants(groups []string) []muster.Grant {
	all := []muster.Grant{}
	for _, r := range i.Rules {
		if (r.Group == "*" || slices.Contains(groups, r.Group)) && !slices.Contains(all, r.Grant) {
			all = append(all, r.Grant)
		}
	}
	return all
}

// words returns the words of a claim that is one, or a list.
func words(claim any) (all []string) {
	switch c := claim.(type) {
	case string:
		all = append(all, c)
	case []any:
		for _, v := range c {
			if s, is := v.(string); is && s != "*" {
				all = append(all, s)
			}
		}
	}
	return all
}
