package nomad_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/nomad"
)

// identify finds a launch through a real token.
func identify(l *lab) {
	x := l.launch("id", "ws-id")
	_, child := l.run(x)
	alloc := l.alloc(child)
	token := l.identity(alloc.ID)
	a, err := l.Identify(l.Context(), token)
	l.must(err)
	want := muster.Allocation{ID: alloc.ID, Namespace: "ws-id", ChildID: child, Token: x.Token(), Launch: "id", Group: "main",
		NodeID: alloc.NodeID, NodeName: "one"}
	if *a != want {
		l.Errorf("got %+v\nwant %+v", *a, want)
	}
	head, rest, _ := strings.Cut(token, ".")
	body, signature, _ := strings.Cut(rest, ".")
	flipped := "A" + signature[1:]
	if signature[0] == 'A' {
		flipped = "B" + signature[1:]
	}
	for what, forged := range map[string]string{"nothing": "", "rubbish": "x.y.z", "another signature": head + "." + body + "." + flipped, "no signature": head + "." + body + "."} {
		if _, err := l.Identify(l.Context(), forged); muster.CodeOf(err) != muster.CodeUnauthenticated {
			l.Errorf("%s: %v", what, err)
		}
	}
	other := l.config
	other.Installation = "other"
	stranger, err := nomad.New(other)
	l.must(err)
	if _, err := stranger.Identify(l.Context(), token); muster.CodeOf(err) != muster.CodeForbidden || !strings.Contains(err.Error(), "another installation") {
		l.Errorf("at another installation: %v", err)
	}
	l.must(l.StopJob(l.Context(), x.Namespace, child, false))
	l.eventually("the allocation counts as terminal", func() bool {
		a, err := l.Identify(l.Context(), token)
		l.must(err)
		return a.Terminal
	})
}

// foreignTokens tries tokens that Nomad itself has signed, and that are nobody's
// business here.
func foreignTokens(l *lab) {
	file := l.tokens + "/foreign"
	l.foreign("foreign-id", "default", "cp \"$NOMAD_SECRETS_DIR\"/*.jwt '"+l.tokens+"' && mv '"+l.tokens+"/nomad_muster.jwt' '"+file+"'; exec sleep 1000", func(j *api.Job) {
		j.TaskGroups[0].Tasks[0].Identities = []*api.WorkloadIdentity{
			{Name: "muster", Audience: []string{muster.IdentityAudience}, File: true, TTL: time.Hour},
			{Name: "vault", Audience: []string{"vault.io"}, File: true, TTL: time.Hour}}
	})
	if _, err := l.Identify(l.Context(), l.identity("foreign")); muster.CodeOf(err) != muster.CodeForbidden {
		l.Errorf("a job that is not Muster's: %v", err)
	}
	if _, err := l.Identify(l.Context(), l.identity("nomad_vault.jwt")); muster.CodeOf(err) != muster.CodeUnauthenticated || !strings.Contains(err.Error(), "audience") {
		l.Errorf("a token for Vault: %v", err)
	}
}

// key is a key pair with an id.
type key struct {
	*rsa.PrivateKey
	id string
}

func newKey(t *testing.T) key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key{private, "of-the-test"}
}

// sign makes a token for an allocation, as Nomad would but for what is changed.
func sign(t *testing.T, k key, alloc string, changed map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{"aud": []string{muster.IdentityAudience}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"nomad_namespace": "ws-forged", "nomad_job_id": "x", "nomad_task": "main", "nomad_allocation_id": alloc}
	maps.Copy(claims, changed)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.PrivateKey, KeyID: k.id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// forged puts a key of ours among Nomad's, so that all can be tried that Nomad
// itself would never sign.
func forged(l *lab) {
	foreignTokens(l)
	_, child := l.run(l.launch("forged", "ws-forged"))
	alloc := l.alloc(child).ID
	own, keyReads := newKey(l.T), 0
	upstream, err := url.Parse(l.platform.NomadAddr)
	l.must(err)
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/jwks.json" {
			proxy.ServeHTTP(w, r)
			return
		}
		keyReads++
		l.must(json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &own.PublicKey, KeyID: own.id, Algorithm: "RS256", Use: "sig"}}}))
	}))
	defer server.Close()
	config := l.config
	config.Address = server.URL
	n, err := nomad.New(config)
	l.must(err)
	if a, err := n.Identify(l.Context(), sign(l.T, own, alloc, nil)); err != nil || a.ID != alloc {
		l.Fatalf("a good token: %+v, %v", a, err)
	}
	past := time.Now().Add(-2 * time.Hour).Unix()
	stranger := newKey(l.T)
	unknown := stranger
	unknown.id = "unknown"
	for what, token := range map[string]string{
		"expired":             sign(l.T, own, alloc, map[string]any{"exp": past + 60, "iat": past, "nbf": past}),
		"not yet valid":       sign(l.T, own, alloc, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		"another audience":    sign(l.T, own, alloc, map[string]any{"aud": "vault.io"}),
		"no audience":         sign(l.T, own, alloc, map[string]any{"aud": []string{}}),
		"never expires":       sign(l.T, own, alloc, map[string]any{"exp": nil}),
		"no allocation":       sign(l.T, own, "", nil),
		"another key":         sign(l.T, stranger, alloc, nil),
		"an unknown key":      sign(l.T, unknown, alloc, nil),
		"alg none":            unsigned(sign(l.T, own, alloc, nil)),
		"HS256 by public key": confused(l.T, own, sign(l.T, own, alloc, nil)),
	} {
		if _, err := n.Identify(l.Context(), token); muster.CodeOf(err) != muster.CodeUnauthenticated || !strings.Contains(err.Error(), "no valid workload identity") {
			l.Errorf("%s: %v", what, err)
		}
	}
	for what, token := range map[string]string{
		"an allocation that is gone": sign(l.T, own, "00000000-0000-0000-0000-000000000000", nil),
		"another namespace":          sign(l.T, own, alloc, map[string]any{"nomad_namespace": "ws-other"}),
	} {
		if _, err := n.Identify(l.Context(), token); muster.CodeOf(err) != muster.CodeForbidden {
			l.Errorf("%s: %v", what, err)
		}
	}
	if keyReads > 2 {
		l.Errorf("Nomad was asked for its keys %d times: unknown keys make no storm", keyReads)
	}
}

// unsigned is a token that says that it needs no signature.
func unsigned(token string) string {
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"of-the-test","typ":"JWT"}`))
	return head + "." + strings.Split(token, ".")[1] + "."
}

// confused is a token signed with the public key as if it were a secret.
func confused(t *testing.T, k key, token string) string {
	t.Helper()
	secret, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret, KeyID: k.id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := io.ReadAll(base64.NewDecoder(base64.RawURLEncoding, strings.NewReader(strings.Split(token, ".")[1])))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
