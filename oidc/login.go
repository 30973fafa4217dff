package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/muster-ml/muster"
)

// Session is what a login leaves: a token for the server, and the means to get
// the next one.
type Session struct {
	Login   muster.OIDCLogin
	Token   string // for the server
	Expires time.Time
	Refresh string // "" where the issuer gives none
}

// LogIn lets a person log in at the issuer with a browser: tell is given the
// address to open, and the issuer sends the browser back to this machine.
func LogIn(ctx context.Context, l muster.OIDCLogin, tell func(url string)) (*Session, error) {
	p, err := discover(ctx, l.Issuer)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the browser: %w", err)
	}
	defer listener.Close()
	conf := &oauth2.Config{ClientID: l.ClientID, Endpoint: p.Endpoint(), Scopes: l.Scopes,
		RedirectURL: "http://" + listener.Addr().String() + "/callback"}
	state, nonce, verifier := muster.RandomID(16), muster.RandomID(16), oauth2.GenerateVerifier()
	tell(conf.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)))
	code, err := waitForBrowser(ctx, listener, state)
	if err != nil {
		return nil, err
	}
	tokens, err := conf.Exchange(withClient(ctx), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, refused(l.Issuer, err)
	}
	s := &Session{Login: l}
	t, err := s.take(ctx, p, tokens)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(t.Nonce), []byte(nonce)) != 1 {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "%s answered another login than this one", l.Issuer).WithCure("try again")
	}
	return s, nil
}

// Renew gets the next token.
func (s *Session) Renew(ctx context.Context) error {
	if s.Refresh == "" {
		return muster.Errorf(muster.CodeUnauthenticated, "the login at %s is over", s.Login.Issuer).WithCure("log in again: muster login --oidc")
	}
	p, err := discover(ctx, s.Login.Issuer)
	if err != nil {
		return err
	}
	conf := &oauth2.Config{ClientID: s.Login.ClientID, Endpoint: p.Endpoint(), Scopes: s.Login.Scopes}
	tokens, err := conf.TokenSource(withClient(ctx), &oauth2.Token{RefreshToken: s.Refresh}).Token()
	if err != nil {
		return refused(s.Login.Issuer, err)
	}
	_, err = s.take(ctx, p, tokens)
	return err
}

// take keeps what the issuer gave, once it is proved to be the issuer's.
func (s *Session) take(ctx context.Context, p *oidc.Provider, tokens *oauth2.Token) (*oidc.IDToken, error) {
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "%s gave no id token", s.Login.Issuer).WithCure("log in again: muster login --oidc; the scopes must hold openid")
	}
	t, err := p.Verifier(&oidc.Config{ClientID: s.Login.ClientID}).Verify(withClient(ctx), raw)
	if err != nil {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "%s gave a token that is not right: %v", s.Login.Issuer, err)
	}
	s.Token, s.Expires = raw, t.Expiry.UTC()
	if tokens.RefreshToken != "" {
		s.Refresh = tokens.RefreshToken
	}
	return t, nil
}

// refused says why the issuer gave no token.
func refused(issuer string, err error) error {
	if e, is := errors.AsType[*oauth2.RetrieveError](err); is && e.Response.StatusCode < 500 {
		return muster.Errorf(muster.CodeUnauthenticated, "%s refuses: %s %s", issuer, e.ErrorCode, e.ErrorDescription).WithCure("log in again: muster login --oidc")
	}
	return away(issuer, err)
}

// waitForBrowser serves the redirect until the browser brings the code of this
// login. What comes without the state is somebody else's.
func waitForBrowser(ctx context.Context, l net.Listener, state string) (string, error) {
	type answer struct {
		code string
		err  error
	}
	came := make(chan answer, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
			http.Error(w, "this is not the login that muster waits for", http.StatusBadRequest)
			return
		}
		a := answer{code: q.Get("code")}
		if a.code == "" {
			a.err = muster.Errorf(muster.CodeUnauthenticated, "the login was refused: %s %s", q.Get("error"), q.Get("error_description")).WithCure("try again")
			http.Error(w, "The login was refused. You may close this window.", http.StatusForbidden)
		} else {
			fmt.Fprintln(w, "You are logged in. You may close this window.")
		}
		select {
		case came <- a:
		default: // a second visit
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(l) }() // it ends with the listener
	select {
	case <-ctx.Done():
		_ = server.Close()
		return "", context.Cause(ctx)
	case a := <-came:
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(last) // the browser still reads the page
		return a.code, a.err
	}
}
