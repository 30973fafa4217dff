package muster

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Offer is what a site has for an environment that a run asks for: one of the
// offers below, or "image:NAME", another image that stands in for it.
type Offer string

// The offers.
const (
	OfferNode      Offer = "node"              // what is installed on the node
	OfferContainer Offer = "container"         // the image itself, in a container
	OfferEither    Offer = "container or node" // a container where the cluster has an engine, else the node
)

// Image returns the image of an "image:NAME".
func (o Offer) Image() (name string, ok bool) { return strings.CutPrefix(string(o), "image:") }

// Site maps the names of environments to what this site offers for them. A key
// is a pattern in which '*' stands for any characters but '/':
//
//	library/python:*                an image, named as Docker names it, without docker.io/
//	mcr.microsoft.com/azureml/*     an image of another registry
//	azureml:sklearn-*               an environment of Azure ML, wherever it is registered there
//
// Of several patterns that match, the longest one decides. An image that no
// pattern matches runs in a container.
type Site map[string]Offer

// Validate refuses a table that cannot be meant.
func (s Site) Validate() error {
	for _, pattern := range slices.Sorted(maps.Keys(s)) {
		if _, err := path.Match(pattern, ""); err != nil {
			return Errorf(CodeInvalid, "%q is no pattern", pattern)
		}
		image, instead := s[pattern].Image()
		switch {
		case instead && isImage(image):
		case s[pattern] == OfferNode, s[pattern] == OfferEither, s[pattern] == OfferContainer:
			if s[pattern] != OfferNode && strings.HasPrefix(pattern, azureML) {
				return Errorf(CodeInvalid, "%s is no image, and cannot be offered as %q", pattern, s[pattern]).WithCure("name one that stands in for it, as image:NAME, or use %q", OfferNode)
			}
		default:
			return Errorf(CodeInvalid, "%s: %q is not offered", pattern, s[pattern]).
				WithCure("use %q, %q, %q or image:NAME", OfferNode, OfferContainer, OfferEither)
		}
	}
	return nil
}

// DefaultSite is the table of muster dev: what runs with the Python and the
// tools of an ordinary machine is mapped to the node, so that nothing has to be
// fetched.
func DefaultSite() Site {
	return Site{
		"library/python:*":            OfferNode,
		"library/python@*":            OfferNode,
		"library/ubuntu:*":            OfferNode,
		"library/debian:*":            OfferNode,
		"library/alpine:*":            OfferNode,
		"library/busybox:*":           OfferNode,
		"continuumio/miniconda3:*":    OfferNode,
		"mcr.microsoft.com/azureml/*": OfferNode,
		"azureml:sklearn-*":           OfferNode,
		"azureml:python-*":            OfferNode,
		"azureml:AzureML-*":           OfferNode,
		"azureml:acpt-*":              OfferNode,
		"azureml:minimal-*":           OfferNode,
		"azureml:lightgbm-*":          OfferNode,
		"azureml:tensorflow-*":        OfferNode,
	}
}

// azureML begins the names of environments that are registered in Azure ML.
const azureML = "azureml:"

// imageRE is what container engines take as the name of an image: a registry, a
// path, a tag and a digest, of which the path alone must be there.
var imageRE = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?` + imagePart + `(?:/` + imagePart + `)*` +
	`(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9A-Fa-f]{32,})?$`)

// imagePart is one part of an image's path.
const imagePart = `[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*`

// isImage reports whether a container engine would take a name as that of an
// image.
func isImage(name string) bool { return len(name) <= 255 && imageRE.MatchString(name) }

// Resolve returns the image in whose container an environment runs, "" for the
// node itself, and a note that says which mapping was used; for "", which asks
// for nothing, there is none. engine says whether the cluster has container
// engines. What this site cannot give is CodeRefused.
func (s Site) Resolve(environment string, engine bool) (image, note string, err error) {
	if environment == "" {
		return "", "", nil
	}
	found, offer := s.match(environment)
	switch stand, instead := offer.Image(); {
	case offer == OfferNode, offer == OfferEither && !engine:
		return "", fmt.Sprintf("environment %s: this site offers the node for it (%s → %s)", environment, found, offer), nil
	case !instead && strings.HasPrefix(CanonicalEnvironment(environment), azureML):
		return "", "", Errorf(CodeRefused, "environment %s is registered in Azure ML, and mapped to nothing on this site", environment).
			At("environment").WithCure("%s", "name an image, or let the operator map it (muster server --site)"+s.mapped())
	case !instead && !isImage(environment):
		return "", "", Errorf(CodeInvalid, "%q is no name of an image", environment).At("environment").WithCure("write it like registry.example/team/image:tag, with small letters but in the tag")
	case !engine:
		return "", "", Errorf(CodeRefused, "environment %s runs in a container, and no node of the cluster has a container engine", environment).
			At("environment").WithCure("%s", "name a cluster whose nodes have Docker, leave environment out to use what is on the node, or let the operator map it (muster server --site)"+s.mapped())
	case instead:
		return stand, fmt.Sprintf("environment %s: this site offers the image %s for it (%s → %s)", environment, stand, found, offer), nil
	}
	return environment, "", nil
}

// match returns the pattern that decides on an environment and what is offered
// for it: a container where there is none.
func (s Site) match(environment string) (pattern string, offer Offer) {
	name := CanonicalEnvironment(environment)
	for _, p := range slices.Sorted(maps.Keys(s)) {
		if ok, _ := path.Match(p, name); ok && len(p) > len(pattern) {
			pattern = p
		}
	}
	if pattern == "" {
		return "", OfferContainer
	}
	return pattern, s[pattern]
}

// mapped lists the patterns, for a cure.
func (s Site) mapped() string {
	if len(s) == 0 {
		return ""
	}
	return "; mapped are " + strings.Join(slices.Sorted(maps.Keys(s)), ", ")
}

// CanonicalEnvironment brings the ways in which one environment can be named
// into one: an image as Docker does it, so that python is
// library/python:latest, and what is registered in Azure ML as azureml:NAME
// with what follows.
func CanonicalEnvironment(name string) string {
	if rest, ok := strings.CutPrefix(name, "azureml://registries/"); ok {
		if _, rest, ok = strings.Cut(rest, "/environments/"); ok {
			rest = strings.NewReplacer("/versions/", ":", "/labels/", "@").Replace(rest)
			return azureML + rest
		}
	}
	if strings.HasPrefix(name, azureML) {
		return name
	}
	host, rest, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		name = "library/" + name
	case host == "docker.io" || host == "index.docker.io" || host == "registry-1.docker.io":
		if name = rest; !strings.Contains(rest, "/") {
			name = "library/" + rest
		}
	}
	if last := name[strings.LastIndex(name, "/")+1:]; !strings.ContainsAny(last, ":@") {
		name += ":latest"
	}
	return name
}
