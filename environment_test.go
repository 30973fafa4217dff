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
	site := Site{"library/python:*": OfferNode, "library/*": "other", "azureml:sklearn-*": OfferNode}
	for _, c := range []struct {
		environment string
		offer       Offer
		note        string
	}{
		{"", OfferNode, ""},
		{"docker.io/library/python:3.12", OfferNode, "library/python:* → node"},
		{"ubuntu:24.04", "other", "library/* → other"},
		{"azureml://registries/azureml/environments/sklearn-1.5/labels/latest", OfferNode, "azureml:sklearn-* → node"},
	} {
		offer, note, err := site.Resolve(c.environment)
		if err != nil || offer != c.offer || !strings.Contains(note, c.note) {
			t.Errorf("%s: %s, %q, %v", c.environment, offer, note, err)
		}
	}
	_, _, err := site.Resolve("pytorch/pytorch:2.3")
	if CodeOf(err) != CodeRefused || !strings.Contains(err.Error(), "leave environment out") {
		t.Errorf("an image without a mapping: %v", err)
	}
}

func TestDefaultSite(t *testing.T) {
	for _, environment := range []string{"python:3.12-slim", "ubuntu", "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu:33",
		"azureml://registries/azureml/environments/acpt-pytorch-2.2-cuda12.1/labels/latest"} {
		if _, _, err := DefaultSite().Resolve(environment); err != nil {
			t.Error(err)
		}
	}
	for _, environment := range []string{"nvcr.io/nvidia/pytorch:24.01-py3", "azureml:mine@latest"} {
		if _, _, err := DefaultSite().Resolve(environment); CodeOf(err) != CodeRefused {
			t.Errorf("%s: %v", environment, err)
		}
	}
}
