package api

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// prove finds out who calls. A caller who cannot prove it has no name to be
// limited by, so the address that he calls from is: each guess costs a look into
// the store, or a question to Nomad or the issuer. An address may be a proxy's,
// with everybody behind it: whoever has proved himself lately is let through.
func (a *API) prove(c huma.Context, authorization string) (*muster.Principal, error) {
	from, proof := "address "+network(c.RemoteAddr()), "proof "+muster.HashToken(authorization)
	if wait := a.limiter.hold(from, proof, time.Now()); wait > 0 {
		seconds := int(math.Ceil(wait.Seconds()))
		c.SetHeader("Retry-After", fmt.Sprint(seconds))
		return nil, muster.Errorf(muster.CodeRateLimited, "too many calls of this address prove no identity").
			WithCure("wait %d s, and call with a token that holds; muster whoami tells whether it does", seconds)
	}
	p, err := a.identify(c.Context(), authorization)
	a.limiter.tell(from, proof, muster.CodeOf(err), time.Now())
	return p, err
}

// hold says how long a caller must wait before it is even looked who he is.
func (l *limiter) hold(from, proof string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, known := l.asking[from], l.asking[proof]
	if a == nil || known != nil && now.Sub(known.last) < forgetAfter {
		return 0
	}
	if missing := 1 - a.rate.TokensAt(now); missing > 0 {
		return time.Duration(missing / l.Rate * float64(time.Second))
	}
	return 0
}

// tell keeps how a caller's proof was taken. What failed for a reason of the
// server's own counts against nobody.
func (l *limiter) tell(from, proof string, code muster.Code, now time.Time) {
	if l.Rate <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch code {
	case "":
		l.of(proof, now)
	case muster.CodeUnauthenticated:
		delete(l.asking, proof)
		l.of(from, now).rate.AllowN(now, 1)
	case muster.CodeUnreachable:
		l.of(from, now).rate.AllowN(now, 1)
	}
}

// network is what of an address one caller has to himself: of IPv6 that is a
// whole /64.
func network(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}
