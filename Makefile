# Every target works in a fresh clone; everything is built under CARGO_TARGET_DIR when that is set.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: demo test lint bench bench-e2e e2e e2e-up e2e-down faults soak golden clean help

CARGO ?= cargo
# Folder of the demo's bucket.
OUTPUT ?= demo-output
# Most tests wait for time-outs of sessions and stores, so there are more of them at work than cores.
TEST_THREADS ?= 8

demo: ## the whole data path on real daily bars, in one process; files under demo-output/ (OUTPUT=DIR elsewhere)
	$(CARGO) run --locked -p stockpipeline-worker -- local examples/demo.yaml --output $(OUTPUT)

test: ## all tests that need neither network nor containers
	$(CARGO) test --locked --workspace -- --test-threads=$(TEST_THREADS)

lint: ## formatting, clippy, crate boundaries, committed files, what documents name
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) check --locked --workspace --bins # as they ship, without what tests add to a library
	scripts/check-boundaries
	scripts/check-files
	scripts/check-docs

bench: ## messages a second and a thousand pipelines: CPU seconds, writes, memory, in release (minutes to build)
	$(CARGO) run --release --locked -p stockpipeline-worker --example bench
	$(CARGO) build --profile operator --locked -p stockpipeline-operator --bins
	$(CARGO) run --profile operator --locked -p stockpipeline-operator --example control_plane

bench-e2e: ## the same over real components, beside peers (needs Java, Go 1.26, Python 3, root for the first row; half an hour)
	e2e/bench

e2e: ## the same promises on real components, and the whole system as its user has it (needs root, Go 1.26; CONTRIBUTING.md has the rest)
	e2e/run

faults: ## the list of faults on the whole system, each at full length (about 40 minutes)
	E2E_SUITES=system E2E_SKIP=soak:: E2E_SECONDS=5400 e2e/run faults::

# Minutes of `make soak`.
MINUTES ?= 20
soak: ## a steady rate with random faults, MINUTES=20 of it
	E2E_SUITES=system E2E_SKIP=faults:: E2E_SECONDS=$$(( $(MINUTES) * 60 + 900 )) SOAK_MINUTES=$(MINUTES) e2e/run soak::

e2e-up: ## a cluster of one node with three brokers, S3, Glue, Trino and both images on this machine, to try things (root)
	e2e/stage up

e2e-down: ## takes it down, with its data
	e2e/stage down

golden: ## writes the golden files again after a change that is meant to change them; read the diff
	INSTA_UPDATE=always $(CARGO) test --locked --workspace -- --test-threads=$(TEST_THREADS)

clean: ## removes the build and the demo's files
	$(CARGO) clean
	rm -rf demo-output

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'
