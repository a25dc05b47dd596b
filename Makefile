# Works with GNU make from 3.81 on. What a target needs besides Go it finds or fetches by
# itself: see txn/txntest/pgserver for PostgreSQL.

.DEFAULT_GOAL := help
.PHONY: help demo test generate verify lint fmt faults fuzz mutants bench bench-quick

# Every folder with a go.mod is a module with a make of its own: go's ./... ends where the
# next module begins.
MODULES := $(sort $(patsubst %/go.mod,%,$(shell find . -name go.mod ! -path '*/testdata/*' ! -path '*/.*/*')))

# Without a C compiler all works as well, but for the race detector; sqlc's parser is then
# WebAssembly, which is slower.
export CGO_ENABLED := $(shell set -- $$(go env CC); \
	test "$$(go env CGO_ENABLED)" = 1 && command -v "$$1" >/dev/null && echo 1 || echo 0)
RACE := $(if $(filter 1,$(CGO_ENABLED)),-race)

# TIMEOUT is for the tests of one package; TESTFLAGS are further flags of go test. So many
# tests of a package run at a time: they wait for servers more than they compute.
TIMEOUT   ?= 10m
PARALLEL  ?= 6
TESTFLAGS ?=

# Its version must understand the Go version in go.mod. It is in no go.mod: it would raise
# what the modules require.
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

FUZZTIME  ?= 2m

# Of make bench: how long it measures, where the result goes (.md and .csv), and further flags.
BENCHTIME  ?= 30m
BENCHFLAGS ?=
bench:       OUT ?= docs/results/bench
bench-quick: OUT ?= docs/results/bench-quick

# each runs a command in every module, goes on after a failure, and fails at the end.
define each
@status=0; $(call in-each,$(1)); exit $$status
endef
in-each = for m in $(MODULES); do echo "$$m: $(1)"; (cd $$m && $(1)) || status=1; done

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## work under load and faults on a server of its own, and show that nothing was lost
	go run ./cmd/interlock demo --faults

test: ## run the tests of all modules, on PostgreSQL servers of their own (TESTFLAGS=…)
	@orders=$$(mktemp -d) || exit; trap 'rm -rf "$$orders"' EXIT; trap 'exit 130' INT TERM; \
	export INTERLOCK_LOCK_ORDER_DIR="$$orders"; status=0; \
	$(call in-each,go test $(RACE) -parallel $(PARALLEL) -timeout $(TIMEOUT) $(TESTFLAGS) ./...); \
	echo "orders of locks, of all tests together"; (cd txn && go run ./txntest/lockorder "$$orders") || status=1; \
	exit $$status

generate: ## write what is generated from schema/ and queries/
	go run ./cmd/interlock-gen generate

verify: ## fail if a generated file is not what would be generated
	go run ./cmd/interlock-gen verify

lint: ## check format, vet, staticcheck, and the modules' files
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not as gofmt writes it:"; echo "$$unformatted"; exit 1; fi
	$(call each,go vet ./...)
	$(call each,$(STATICCHECK) ./...)
	$(call each,go mod tidy -diff)
	$(call each,go mod verify)

fmt: ## format all Go files
	gofmt -w .

# The library at one commit, on two servers. Run it where little else runs: the figures count
# what is right, but for those that are a time or a ratio.
FAULTS := go test -count=1 -timeout 1h -parallel 4 -run '^(TestFaults|TestCutPoints)' -faults.long

faults: ## count what becomes of calls under faults, on two PostgreSQL: about fifteen minutes
	cd txn && $(FAULTS)
	cd txn && INTERLOCK_TEST_POSTGRES=npm $(FAULTS)

fuzz: ## look for inputs that break what builds or reads SQL texts (FUZZTIME=2m in all)
	go run .ci/fuzz.go $(FUZZTIME)

mutants: ## break the code one line at a time: a test must notice each (MUTANTS=pattern)
	go run ./internal/mutants '$(MUTANTS)'

bench: ## compare ways to write a transfer at 0, 1 and 5 ms one way, for BENCHTIME (OUT=docs/results/bench)
	cd bench && go run . -for $(BENCHTIME) -out $(abspath $(OUT)) $(BENCHFLAGS)

bench-quick: ## the same at 0 and 1 ms: under three minutes (OUT=docs/results/bench-quick)
	cd bench && go run . -latencies 0s,1ms -for 2m10s -slot 50ms -out $(abspath $(OUT)) $(BENCHFLAGS)
