# streamgauge. `make help` lists the targets. Nothing but Python >= 3.11 and make is needed before any of them.

VENV   := .venv
BIN    := $(VENV)/bin
GEN    := build/gen
FLOOR  := build/floor
DESCRIPTOR := server/streamgauge_server/gateway/streamgauge.binpb
READY  := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
SHARED := -n auto --maxprocesses 4 --dist loadfile

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## List the targets
	@echo "streamgauge: metrics of data pipelines over gRPC"
	@echo
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z0-9.-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Every day

.PHONY: setup
setup: $(READY) ## Create .venv with everything for running, testing and developing

# One environment for all of it. The stamp makes it free while pyproject.toml stays as it is.
$(READY): pyproject.toml tools/find-python
	@if ! [ -x $(BIN)/python ]; then \
		python=$$(PYTHON="$(PYTHON)" sh tools/find-python) && \
		echo "creating $(VENV) with $$python" && \
		"$$python" -m venv $(VENV); \
	fi
	@echo "installing into $(VENV) (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[server,pandas,parquet]' --group dev
	@touch $@

.PHONY: run
run: $(READY) ## Run a server with recorded data to try
	@$(BIN)/streamgauge demo run

.PHONY: test
test: $(READY) ## Run all tests, on up to four cores
	@$(PYTEST) $(SHARED)

.PHONY: check
check: lint contract types imports gen-check test-floor ## Run what CI runs beside make test

.PHONY: format
format: $(READY) ## Format Python and proto files, mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .
	@$(BIN)/buf format --write

.PHONY: clean
clean: ## Remove environments, caches and build products
	rm -rf $(VENV) build dist .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Parts of make check

.PHONY: lint
lint: $(READY) ## Check format and style of Python and proto files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf lint

.PHONY: contract
contract: $(READY) ## Check that no RPC, field or HTTP rule was broken or changed unnoticed
	sh tools/buf-breaking $(BIN)/buf
	$(BIN)/python tools/http_rules.py --check

.PHONY: types
types: $(READY) ## Check types (mypy, strict)
	$(BIN)/python -m mypy

.PHONY: imports
imports: $(READY) ## Check which layer imports which
	$(BIN)/lint-imports --no-logo

.PHONY: gen-check
gen-check: $(GEN)/.ready ## Check that the generated code is what the protos generate
	@PATH="$(CURDIR)/$(GEN)/bin:$$PATH" $(GEN)/bin/python tools/generate.py --check

# What people install beside their own dependencies: the SDK, the command line and what they stand on. A process that
# forks while asyncio is in gRPC needs grpcio 1.80.
.PHONY: test-floor
test-floor: $(FLOOR)/.ready ## Run the tests of the SDK at the lowest versions that pyproject.toml allows
	$(FLOOR)/bin/python -m pytest $(SHARED) -p no:cacheprovider tests/sdk tests/cli tests/unit/sdk \
		--deselect tests/sdk/test_processes.py::test_a_child_forked_amid_asyncio_calls_is_told_and_can_use_the_sync_client

##@ Beyond make check

.PHONY: test-flink-1.20
test-flink-1.20: $(READY) ## Run the tests on a real Flink with version 1.20 instead of 2.3 (fetches 240 MB once)
	@STREAMGAUGE_FLINK_VERSION=1.20.5 $(PYTEST) -m flink tests/flink

##@ Written files

.PHONY: gen
gen: $(GEN)/.ready ## Write the Python code of the protos and their descriptor set
	@PATH="$(CURDIR)/$(GEN)/bin:$$PATH" $(GEN)/bin/python tools/generate.py

.PHONY: descriptor
descriptor: $(GEN)/.ready ## Write the descriptor set of the protos alone, for Envoy and other gateways
	@$(GEN)/bin/python tools/generate.py --descriptor $(DESCRIPTOR)

.PHONY: http-rules
http-rules: $(READY) ## Write the snapshot of all HTTP rules (protos/http_rules.txt)
	@$(BIN)/python tools/http_rules.py --write

.PHONY: reference
reference: $(READY) ## Write docs/reference.md (limits, scopes, errors, metrics, settings)
	@$(BIN)/python tools/reference.py --write

.PHONY: protos-vendor
protos-vendor: $(READY) ## Refresh protos/google from the installed googleapis-common-protos
	@$(BIN)/python tools/vendor_protos.py

# The generator has an environment of its own: it is older than what the server runs on.
$(GEN)/.ready: tools/gen-requirements.txt tools/find-python
	@rm -rf $(GEN)
	@python=$$(PYTHON="$(PYTHON)" sh tools/find-python) && "$$python" -m venv $(GEN)
	@$(GEN)/bin/python -m pip install --quiet --disable-pip-version-check -r tools/gen-requirements.txt
	@touch $@

# The lowest versions that the package allows, read out of pyproject.toml.
$(FLOOR)/.ready: pyproject.toml tools/floors.py tools/find-python
	@rm -rf $(FLOOR)
	@python=$$(PYTHON="$(PYTHON)" sh tools/find-python) && "$$python" -m venv $(FLOOR)
	@$(FLOOR)/bin/python tools/floors.py >$(FLOOR)/constraints.txt
	@$(FLOOR)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(FLOOR)/bin/python -m pip install --quiet --disable-pip-version-check -c $(FLOOR)/constraints.txt -e '.[server,pandas,parquet]' --group test
	@touch $@

##@ Measuring

.PHONY: bench
bench: $(READY) ## Measure against ceilings; prints a table, writes build/bench.json
	@$(BIN)/python -m tests.bench

.PHONY: bench-quick
bench-quick: $(READY) ## The same in under two minutes
	@$(BIN)/python -m tests.bench --quick

.PHONY: bench-peers
bench-peers: $(READY) ## Measure against VictoriaMetrics, InfluxDB, Prometheus and rows in PostgreSQL
	@$(BIN)/python -m tests.bench.peers --chart docs/bench-peers.png

.PHONY: bench-peers-quick
bench-peers-quick: $(READY) ## The same in under four minutes, without the chart
	@$(BIN)/python -m tests.bench.peers --quick

.PHONY: bench-growth
bench-growth: $(READY) ## Measure how costs grow with subjects and with time, and draw it
	@$(BIN)/python -m tests.bench.growth --chart docs/growth.png
