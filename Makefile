# All targets work without root, and in a folder with a blank in its name.

.DEFAULT_GOAL := help
.PHONY: fuzz schemathesis help build build-race engines demo test test-gpu bench check fmt clean prerequisites

# The main module's packages: what lies below tools is modules of their own.
GO = go
STATICCHECK = .cache/staticcheck
# For muster-device and its tests: NVIDIA's header calls much of itself deprecated, and its library is looked into only when it is
# called, where a C compiler hardened by default would want it at the start.
NVML = CGO_CFLAGS='-g -O2 -Wno-deprecated-declarations' CGO_LDFLAGS='-g -O2 -Wl,-z,lazy'

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

prerequisites:
	@tools/prerequisites

build: prerequisites ## build bin/muster, bin/muster-agent, bin/muster-device and bin/muster-autoscaler
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/muster ./cmd/muster
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags='-s -w' -o bin/muster-agent ./cmd/muster-agent
	CGO_ENABLED=1 $(NVML) $(GO) build -buildvcs=false -trimpath -ldflags='-s -w' -o bin/muster-device ./cmd/muster-device
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/muster-autoscaler ./cmd/muster-autoscaler

build-race: build
	$(GO) build -buildvcs=false -race -o bin/muster-race ./cmd/muster

engines: build ## build Nomad, Consul and the Nomad Autoscaler where they are missing (once, 7 to 17 minutes)
	@bin/muster dev engines --tools tools

demo: engines ## start the platform, train a model on it, show the results, stop it
	bin/muster dev --data-dir .cache/demo -- examples/iris/demo

test: engines build-race ## run every test, with the race detector
	$(NVML) $(GO) test -race -timeout=35m ./...

test-gpu: engines build-race ## test devices with the NVIDIA GPU of this machine; fails where there is none
	MUSTER_TEST_GPU=1 $(NVML) $(GO) test -count=1 -v -run='^TestGPU$$' ./plugin ./e2e

schemathesis:
	@test -x .cache/schemathesis/bin/schemathesis && cmp -s tools/schemathesis/requirements.txt .cache/schemathesis/requirements.txt || \
		{ python3 -m venv --clear .cache/schemathesis && .cache/schemathesis/bin/pip install --quiet -r tools/schemathesis/requirements.txt && \
		cp tools/schemathesis/requirements.txt .cache/schemathesis/; }

fuzz: schemathesis ## ask the API what its description allows, and what it does not (needs Python and PyPI once)
	MUSTER_FUZZ_EXAMPLES=100 CI=1 $(GO) test -count=1 -timeout=20m -run TestSchemathesis -v ./server/api

bench: engines ## measure Muster beside what it stands on, and print the tables of docs/performance.md
	$(GO) test -timeout=30m -run='^$$' -bench=BenchmarkPlatform -benchtime=1x ./e2e

check: prerequisites ## gofmt, vet, staticcheck, tidy, layout, links of the documents, the reference of the commands
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "make fmt would change:"; echo "$$unformatted"; exit 1; fi
	$(NVML) $(GO) vet ./...
	cd tools/staticcheck && $(GO) build -o ../../$(STATICCHECK) honnef.co/go/tools/cmd/staticcheck
	$(NVML) $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	$(GO) test -count=1 .
	$(GO) test -count=1 -run 'TestReference|TestExamples' ./cli

fmt: ## format the Go files
	gofmt -w .

clean: ## remove what was built here; the engines in the user's cache stay
	rm -rf bin .cache
