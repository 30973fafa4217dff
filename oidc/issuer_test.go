package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/muster-ml/muster"
)

// issuer is one with keys of its own, which says what a test wants.
type issuer struct {
	*testing.T
	*httptest.Server
	key jose.JSONWebKey
}

func openIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{T: t, key: newKey(t, "first")}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/auth",
			"token_endpoint": i.URL + "/token", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.key.Public()}})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func newKey(t *testing.T, id string) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: id, Algorithm: "ES256", Use: "sig"}
}

// token signs claims over those of a good token.
func (i *issuer) token(key jose.JSONWebKey, claims map[string]any) string {
	i.Helper()
	all := map[string]any{"iss": i.URL, "aud": "muster", "sub": "u1", "exp": time.Now().Add(time.Hour).Unix(), "email": "anna@example.com", "groups": []string{"ml", "*"}}
	for name, v := range claims {
		all[name] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		i.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		i.Fatal(err)
	}
	return text
}

// config believes the issuer.
func (i *issuer) config(rules ...string) Config {
	i.Helper()
	c := Config{Issuer: i.URL, ClientID: "muster", NameClaim: "email", GroupsClaim: "groups"}
	for _, text := range rules {
		r, err := ReadRule(text)
		if err != nil {
			i.Fatal(err)
		}
		c.Rules = append(c.Rules, r)
	}
	return c
}

// TestIdentify holds whom a token names, and which are not believed.
func TestIdentify(t *testing.T) {
	i := openIssuer(t)
	checker, err := New(i.config("ml=owner@vision", "*=reader", "ops=administrator", "ml=owner@vision"))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		token, want string
		code        muster.Code
	}{
		"good":                  {i.token(i.key, nil), "anna@example.com owner@vision reader", ""},
		"one group":             {i.token(i.key, map[string]any{"groups": "ops"}), "anna@example.com reader administrator", ""},
		"no group":              {i.token(i.key, map[string]any{"groups": nil}), "anna@example.com reader", ""},
		"no name":               {i.token(i.key, map[string]any{"email": nil}), "oidc:u1 owner@vision reader", ""},
		"not verified":          {i.token(i.key, map[string]any{"email_verified": false}), "oidc:u1 owner@vision reader", ""},
		"verified":              {i.token(i.key, map[string]any{"email_verified": true}), "anna@example.com owner@vision reader", ""},
		"verified in words":     {i.token(i.key, map[string]any{"email_verified": "true"}), "anna@example.com owner@vision reader", ""},
		"not verified in words": {i.token(i.key, map[string]any{"email_verified": "false"}), "oidc:u1 owner@vision reader", ""},
		"verified as a number":  {i.token(i.key, map[string]any{"email_verified": 1}), "oidc:u1 owner@vision reader", ""},
		"verified as nothing":   {i.token(i.key, map[string]any{"email_verified": nil}), "oidc:u1 owner@vision reader", ""},
		"like a run":            {i.token(i.key, map[string]any{"email": "run r"}), "oidc:run r owner@vision reader", ""},
		"like a mark":           {i.token(i.key, map[string]any{"email": "oidc:u2"}), "oidc:oidc:u2 owner@vision reader", ""},
		"like a run's address":  {i.token(i.key, map[string]any{"email": "run r <anna@example.com>"}), "oidc:run r <anna@example.com> owner@vision reader", ""},
		"two lines":             {i.token(i.key, map[string]any{"email": "a@b\nc"}), "names nobody", muster.CodeUnauthenticated},
		"expired":               {i.token(i.key, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), "expired at", muster.CodeUnauthenticated},
		"audience":              {i.token(i.key, map[string]any{"aud": "another"}), "audience", muster.CodeUnauthenticated},
		"issuer":                {i.token(i.key, map[string]any{"iss": "https://example.com"}), "issue", muster.CodeUnauthenticated},
		"forged":                {i.token(newKey(t, "first"), nil), "not accepted", muster.CodeUnauthenticated},
		"cut":                   {i.token(i.key, nil)[:100], "not accepted", muster.CodeUnauthenticated},
		"words":                 {"a.b.c", "not accepted", muster.CodeUnauthenticated},
	} {
		p, err := checker.Identify(t.Context(), c.token)
		if muster.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if err != nil {
			continue
		}
		got := p.Name
		for _, g := range p.Grants {
			got += " " + g.String()
		}
		if got != c.want || time.Until(p.ExpiresAt) < 50*time.Minute {
			t.Errorf("%s: got %s until %s", what, got, p.ExpiresAt)
		}
	}
}

// TestIssuerAway believes the keys that it has while the issuer is away, and
// says of unknown ones that they cannot be checked.
func TestIssuerAway(t *testing.T) {
	i := openIssuer(t)
	checker, err := New(i.config("*=reader"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checker.Identify(t.Context(), i.token(i.key, nil)); err != nil {
		t.Fatal(err)
	}
	later := i.token(newKey(t, "second"), nil)
	i.Close()
	if _, err := checker.Identify(t.Context(), i.token(i.key, nil)); err != nil {
		t.Errorf("a key that is known: %v", err)
	}
	answers(t, "a key that is not known", checker, later, muster.CodeUnreachable)
	fresh, err := New(i.config("*=reader"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Identify(t.Context(), later); muster.CodeOf(err) != muster.CodeUnreachable {
		t.Errorf("an issuer that never answered: %v", err)
	}
}

// TestOneQuestion asks an issuer that does not answer once for all who come
// meanwhile, and again only after a while.
func TestOneQuestion(t *testing.T) {
	var asked atomic.Int64
	answer := make(chan struct{})
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-answer
		http.Error(w, "not now", http.StatusServiceUnavailable)
	}))
	t.Cleanup(away.Close)
	i := openIssuer(t)
	c := i.config("*=reader")
	c.Issuer = away.URL
	checker, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := checker.Identify(t.Context(), "a.b.c"); muster.CodeOf(err) != muster.CodeUnreachable {
				t.Errorf("an issuer that does not answer: %v", err)
			}
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := checker.Identify(gone, "a.b.c"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who is gone: %v", err)
	}
	close(answer)
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("21 callers asked %d times", n)
	}
	until := func(at time.Time) { checker.silence.Store(&silence{checker.silence.Load().err, at}) }
	until(time.Now().Add(time.Hour))
	if _, err := checker.Identify(t.Context(), "a.b.c"); muster.CodeOf(err) != muster.CodeUnreachable || asked.Load() != 1 {
		t.Errorf("right after it did not answer: %v, asked %d times", err, asked.Load())
	}
	until(time.Now())
	checker.Issuer = i.URL
	if p, err := checker.Identify(t.Context(), i.token(i.key, nil)); err != nil || p.Name != "anna@example.com" {
		t.Errorf("once it answers: %+v, %v", p, err)
	}
}

// TestKeysChange believes the issuer's next key without a restart.
func TestKeysChange(t *testing.T) {
	i := openIssuer(t)
	checker, err := New(i.config("*=reader"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checker.Identify(t.Context(), i.token(i.key, nil)); err != nil {
		t.Fatal(err)
	}
	old := i.key
	i.key = newKey(t, "second")
	answers(t, "the next key", checker, i.token(i.key, nil), "")
	answers(t, "the key of before", checker, i.token(old, nil), muster.CodeUnauthenticated)
}

// answers waits until a token is answered so. The library gives the keys that it
// has just fetched to whoever waits for them a moment before it remembers them,
// and whoever asks in that moment gets them once more.
func answers(t *testing.T, what string, checker *Issuer, token string, want muster.Code) {
	t.Helper()
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err = checker.Identify(t.Context(), token); muster.CodeOf(err) == want {
			return
		}
	}
	t.Errorf("%s: %v, want %q", what, err, want)
}

// TestConfig refuses what cannot work.
func TestConfig(t *testing.T) {
	rule := []Rule{{Group: "*", Grant: muster.Grant{Role: muster.RoleReader}}}
	for says, c := range map[string]Config{
		"is no URL":            {Issuer: "login.example.com", ClientID: "x", Rules: rule},
		"is not encrypted":     {Issuer: "http://login.example.com", ClientID: "x", Rules: rule},
		"needs a client id":    {Issuer: "https://x", Rules: rule},
		"nobody of the OpenID": {Issuer: "https://x", ClientID: "x"},
	} {
		if _, err := New(c); muster.CodeOf(err) != muster.CodeInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	for issuer, ok := range map[string]bool{"http://localhost:5556/dex": true, "http://127.0.0.1": true, "http://[::1]:5556": true,
		"http://localhost.example.com": false, "http://127.0.0.1.example.com": false, "http://10.0.0.1": false, "http://0.0.0.0": false} {
		if _, err := New(Config{Issuer: issuer, ClientID: "x", Rules: rule}); (err == nil) != ok {
			t.Errorf("%s: %v", issuer, err)
		}
	}
	for text, says := range map[string]string{"ml": "gives no role", "=reader": "gives no role", "ml=king": `"king" is no role`,
		"ml=administrator@w": "an administrator has no workspace", "ml=owner@a b": "is not a name for a workspace"} {
		if _, err := ReadRule(text); muster.CodeOf(err) != muster.CodeInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if r, err := ReadRule("cn=ml,dc=x=contributor@vision"); err != nil || r.Group != "cn=ml,dc=x" || r.Grant.String() != "contributor@vision" {
		t.Errorf("%+v, %v", r, err)
	}
}
