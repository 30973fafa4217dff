package api

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/rs/cors"

	"github.com/muster-ml/muster"
)

// CheckOrigin refuses what no browser calls the origin of a page.
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return muster.Errorf(muster.CodeInvalid, "%q is not an origin", origin).At("cors-origin").WithCure("write it like https://portal.example:8443, without a path; each origin by itself")
	}
	return nil
}

// crossOrigin lets pages of other origins call h; without an origin it is h.
// Nothing is sent by browsers by themselves: a page needs a token.
func crossOrigin(h http.Handler, origins []string) http.Handler {
	if len(origins) == 0 {
		return h
	}
	return cors.New(cors.Options{
		AllowOriginFunc: func(origin string) bool { return slices.Contains(origins, origin) },
		AllowedMethods:  methods, AllowedHeaders: accepted, ExposedHeaders: exposed, MaxAge: 600,
	}).Handler(h)
}
