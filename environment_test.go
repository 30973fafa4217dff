package muster

import (
	"strings"
	"testing"
)

func TestCanonicalEnvironment(t *testing.T) {
	for name, want := range map[string]string{
		"python":                          "library/python:latest",
		"python:3.12":                     "library/python:3.12",
		"library/python:3.12":             "library/python:3.12",
		"docker.io/library/python:3.12":   "library/python:3.12",
		"docker.io/python:3.12":           "library/python:3.12",
		"index.docker.io/pytorch/pytorch": "pytorch/pytorch:latest",
		"python@sha256:0123":              "library/python@sha256:0123",
		"localhost:5000/mine":             "localhost:5000/mine:latest",
		"mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest":           "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest",
		"azureml:AzureML-sklearn-1.0@latest":                                  "azureml:AzureML-sklearn-1.0@latest",
		"azureml://registries/azureml/environments/sklearn-1.5/labels/latest": "azureml:sklearn-1.5@latest",
		"azureml://registries/azureml/environments/sklearn-1.5/versions/33":   "azureml:sklearn-1.5:33",
		"azureml://registries/azureml-dev/environments/x-1.5":                 "azureml:x-1.5",
		"azureml://subscriptions/not-an-environment":                          "azureml://subscriptions/not-an-environment",
	} {
		if got := CanonicalEnvironment(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	site := Site{"library/python:*": OfferNode, "library/*": OfferEither, "azureml:sklearn-*": OfferNode, "azureml:torch-*": "image:pytorch/pytorch:2.3", "library/only:*": OfferContainer}
	for _, c := range []struct {
		environment string
		engine      bool
		image, note string
		code        Code
		cure        string
	}{
		{environment: ""},
		{environment: "docker.io/library/python:3.12", engine: true, note: "library/python:* → node"},
		{environment: "ubuntu:24.04", note: "library/* → container or node"},
		{environment: "ubuntu:24.04", engine: true, image: "ubuntu:24.04"},
		{environment: "azureml://registries/azureml/environments/sklearn-1.5/labels/latest", note: "azureml:sklearn-* → node"},
		{environment: "azureml:torch-2.3@latest", engine: true, image: "pytorch/pytorch:2.3", note: "the image pytorch/pytorch:2.3"},
		{environment: "azureml:torch-2.3@latest", code: CodeRefused, cure: "leave environment out"},
		{environment: "only:1", code: CodeRefused, cure: "name a cluster whose nodes have Docker"},
		{environment: "nvcr.io/nvidia/pytorch:24.01-py3", engine: true, image: "nvcr.io/nvidia/pytorch:24.01-py3"},
		{environment: "nvcr.io/nvidia/pytorch:24.01-py3", code: CodeRefused, cure: "leave environment out"},
		{environment: "azureml:mine@latest", engine: true, code: CodeRefused, cure: "let the operator map it"},
		{environment: "azureml:mine@latest", code: CodeRefused, cure: "let the operator map it"},
		{environment: "NOT A / valid image::", code: CodeInvalid, cure: "image:tag"},
		{environment: "foo@@bar", engine: true, code: CodeInvalid, cure: "image:tag"},
		{environment: "Team/Image:1", engine: true, code: CodeInvalid, cure: "small letters"},
		{environment: "localhost:5000/a_b/c__d/e--f.g:V1@sha256:" + strings.Repeat("0a", 32), engine: true, image: "localhost:5000/a_b/c__d/e--f.g:V1@sha256:" + strings.Repeat("0a", 32)},
		{environment: "not an image", engine: true, code: CodeInvalid, cure: "image:tag"},
	} {
		image, note, err := site.Resolve(c.environment, c.engine)
		if CodeOf(err) != c.code || image != c.image || !strings.Contains(note, c.note) || err != nil && !strings.Contains(err.Error(), c.cure) {
			t.Errorf("%s, engine %v: %q, %q, %v", c.environment, c.engine, image, note, err)
		}
	}
}

func TestSiteValidate(t *testing.T) {
	for _, good := range []Site{DefaultSite(), {"a/*": OfferContainer, "b": OfferEither, "azureml:x": "image:y:1"}} {
		if err := good.Validate(); err != nil {
			t.Error(err)
		}
	}
	for pattern, offer := range map[string]Offer{"[": OfferNode, "a": "elsewhere", "b": "image:", "azureml:x-*": OfferContainer} {
		if err := (Site{pattern: offer}).Validate(); CodeOf(err) != CodeInvalid {
			t.Errorf("%s: %s: %v", pattern, offer, err)
		}
	}
}

func TestDefaultSite(t *testing.T) {
	for _, environment := range []string{"python:3.12-slim", "ubuntu", "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu:33",
		"azureml://registries/azureml/environments/acpt-pytorch-2.2-cuda12.1/labels/latest"} {
		for _, engine := range []bool{false, true} {
			if image, _, err := DefaultSite().Resolve(environment, engine); err != nil || image != "" {
				t.Error(environment, image, err)
			}
		}
	}
}
