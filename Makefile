# Every target works in a fresh clone; everything is built under CARGO_TARGET_DIR when that is set.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: demo test lint bench e2e golden clean help

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
	scripts/check-boundaries
	scripts/check-files
	scripts/check-docs

bench: ## messages a second and a thousand pipelines: CPU seconds, writes, memory, in release (minutes to build)
	$(CARGO) run --release --locked -p stockpipeline-worker --example bench
	$(CARGO) run --release --locked -p stockpipeline-operator --example control_plane

e2e: ## the same promises against a real Kafka broker and Kubernetes API server (needs Java, Go 1.26, Python 3)
	e2e/run

golden: ## writes the golden files again after a change that is meant to change them; read the diff
	INSTA_UPDATE=always $(CARGO) test --locked --workspace -- --test-threads=$(TEST_THREADS)

clean: ## removes the build and the demo's files
	$(CARGO) clean
	rm -rf demo-output

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'
