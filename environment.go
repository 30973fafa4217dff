package muster

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Offer is what a site has for an environment that a run asks for.
type Offer string

// OfferNode is what is installed on the node. Images come when clusters have
// container engines.
const OfferNode Offer = "node"

// Site maps the names of environments to what this site offers for them. A key
// is a pattern in which '*' stands for any characters but '/':
//
//	library/python:*                an image, named as Docker names it, without docker.io/
//	mcr.microsoft.com/azureml/*     an image of another registry
//	azureml:sklearn-*               an environment of Azure ML, wherever it is registered there
//
// Of several patterns that match, the longest one decides.
type Site map[string]Offer

// Validate refuses a table that cannot be meant.
func (s Site) Validate() error {
	for _, pattern := range slices.Sorted(maps.Keys(s)) {
		if _, err := path.Match(pattern, ""); err != nil {
			return Errorf(CodeInvalid, "%q is no pattern", pattern)
		}
		if s[pattern] != OfferNode {
			return Errorf(CodeInvalid, "%s: %q is not offered", pattern, s[pattern]).WithCure("as yet there is only %q", OfferNode)
		}
	}
	return nil
}

// DefaultSite is the table of muster dev: what runs with the Python and the
// tools of an ordinary machine is mapped to the node.
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

// Resolve returns what the site offers for an environment, and a note that says
// which mapping was used; for "", which asks for nothing, there is none. What
// the table does not name is CodeRefused.
func (s Site) Resolve(environment string) (offer Offer, note string, err error) {
	if environment == "" {
		return OfferNode, "", nil
	}
	name := CanonicalEnvironment(environment)
	found := ""
	for _, pattern := range slices.Sorted(maps.Keys(s)) {
		if ok, _ := path.Match(pattern, name); ok && len(pattern) > len(found) {
			found = pattern
		}
	}
	if found == "" {
		cure := "leave environment out to use what is on the node, or let the operator map it (muster server --site)"
		if len(s) > 0 {
			cure += "; mapped are " + strings.Join(slices.Sorted(maps.Keys(s)), ", ")
		}
		return "", "", Errorf(CodeRefused, "environment %s is mapped to nothing on this site, and the cluster has no container engine", environment).
			At("environment").WithCure("%s", cure)
	}
	return s[found], fmt.Sprintf("environment %s: this site offers the %s for it (%s → %s)", environment, s[found], found, s[found]), nil
}

// CanonicalEnvironment brings the ways in which one environment can be named
// into one: an image as Docker does it, so that python is
// library/python:latest, and what is registered in Azure ML as azureml:NAME
// with what follows.
func CanonicalEnvironment(name string) string {
	if rest, ok := strings.CutPrefix(name, "azureml://registries/"); ok {
		if _, rest, ok = strings.Cut(rest, "/environments/"); ok {
			rest = strings.NewReplacer("/versions/", ":", "/labels/", "@").Replace(rest)
			return "azureml:" + rest
		}
	}
	if strings.HasPrefix(name, "azureml:") {
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
