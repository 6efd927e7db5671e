# All that a checkout needs: made once, and again when its inputs change.
#
#   make setup   Python and Node dependencies, compiled contracts      make test    every test (ARGS= goes to pytest)
#   make demo    a whole rebalance on a local chain (ARGS=)             make check   format, lint, types, words, static analysis
#   make bench   measure gas, size and speed into .bench/               make attacks attack a vault, against the promises
#   make invariants   the promises, held against a million random calls (ARGS=)
#   make chaos   faults around a keeper, at every strength (ARGS=)
#   make prove   run the provers of docs/proofs.md again                make mutate  small mistakes that no test notices
#   make build   compile the contracts, collect their artifacts         make lock    resolve the dependencies again
#   make clean   remove all that was made here

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := setup
MAKEFLAGS += --no-print-directory --jobs=2 # the contracts compile while Python packages come
.PHONY: setup build demo test check lint invariants bench attacks chaos prove mutate clean lock

# The first of these that is Python 3.11 or newer builds .venv; PYTHON=... names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
# Resolves `make lock`; nothing else uses it.
UV := uv==0.13.9

export PATH := $(CURDIR)/$(BIN):$(CURDIR)/.build/bin:$(CURDIR)/node_modules/.bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export npm_config_update_notifier := false

# Twice quiet: errors alone are shown.
PIP := $(BIN)/python -m pip -qq --no-input
SOLC_VERSION = $(shell sed -n 's/.*"solc": "\([0-9.]*\)".*/\1/p' package.json)
SOLIDITY = $(shell find contracts -name '*.sol')

setup: .build/python .build/artifacts .build/balancer-v3/made .build/solcx
	@:

build: .build/artifacts .build/balancer-v3/made
	@:

.build/tools:
	@[[ -n "$(PYTHON)" ]] || { echo "Python 3.11 or newer is needed and none was found; install it, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is no Python 3.11 or newer; install one, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) comes without venv; install it (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@{ command -v node && command -v npm; } >/dev/null || { echo "Node 20 or newer and npm are needed and were not found; install them first" >&2; exit 1; }
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { echo "Node 20 or newer is needed and $$(node --version) was found; install a newer one" >&2; exit 1; }
	@mkdir -p $(@D) && touch $@

.build/python: requirements-build.lock requirements.lock pyproject.toml scripts/build/checkout.pth | .build/tools
	@echo "setup: Python packages into $(VENV)"
	@[[ -x $(BIN)/python ]] || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --no-deps -r requirements-build.lock # three packages come as source: what builds them has its hash, too
	@$(PIP) install --require-hashes --no-deps --no-build-isolation -r requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@cp scripts/build/checkout.pth "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

# Not `npm ci`: it refuses a lock without hashes of every platform's Foundry, and not every registry carries them all.
.build/node: package-lock.json package.json .npmrc | .build/tools
	@echo "setup: Node packages into node_modules"
	@npm install --no-save --loglevel=error >/dev/null
	@touch $@

# Foundry's own programs, before the npm wrappers of the same names: those exit 0 whatever happened (1.7.1).
.build/bin: .build/node
	@mkdir -p $@
	@for tool in anvil cast forge; do \
		[[ -x $$(echo node_modules/@foundry-rs/$$tool-*/bin/$$tool) ]] || { echo "npm has no $$tool for this platform; see node_modules/@foundry-rs" >&2; exit 1; }; \
		ln -sfn "../../$$(echo node_modules/@foundry-rs/$$tool-*/bin/$$tool)" $@/$$tool; \
	done
	@touch $@

# py-solc-x looks for solc-v<version> in SOLCX_BINARY_PATH.
.build/solcx: package.json scripts/build/solc | .build/tools
	@mkdir -p $@ && ln -sfn ../../scripts/build/solc $@/solc-v$(SOLC_VERSION) && touch $@

.build/artifacts: .build/bin foundry.toml scripts/build/artifacts.py scripts/build/solc $(SOLIDITY)
	@echo "build: contracts"
	@forge build --quiet --skip test --force # as a fresh clone does: an incremental build may differ by some bytes and gas
	@$(PYTHON) scripts/build/artifacts.py
	@touch $@

# Its npm packages hold sources alone. Tests run what is compiled here, and no wheel carries it.
.build/balancer-v3/made: .build/node scripts/build/balancer_v3.py scripts/build/solc
	@echo "build: Balancer V3, for tests"
	@$(PYTHON) scripts/build/balancer_v3.py
	@touch $@

demo: setup
	@rebalancer demo $(ARGS)

test: setup
	@pytest --numprocesses 2 $(ARGS)

check: lint .build/slither
	@:

lint: setup
	@ruff format --check .
	@ruff check .
	@mypy
	@python scripts/prose.py
	@forge fmt --check contracts tests/solidity tests/proofs
	@FOUNDRY_OUT=.build/lint.out FOUNDRY_CACHE_PATH=.build/lint.cache forge lint contracts --deny warnings # apart: it compiles without code

# What Slither finds of medium and high impact; these four detectors are left out because each fires on what is meant:
SLITHER_LEAVES_OUT :=
SLITHER_LEAVES_OUT += divide-before-multiply# fixed-point arithmetic rounds at every step, each time in the stated direction
SLITHER_LEAVES_OUT += incorrect-equality#     comparisons with zero are of amounts, where zero means "nothing to do"
SLITHER_LEAVES_OUT += uninitialized-local#    counters and sums start at zero
SLITHER_LEAVES_OUT += unused-return#          what a call says it did is not believed: balances are measured

.build/slither: .build/python .build/bin $(SOLIDITY) foundry.toml
	@echo "check: slither"
	@FOUNDRY_OUT=$@.out FOUNDRY_CACHE_PATH=$@.cache slither . --fail-medium --exclude-low --exclude-informational \
		--exclude-optimization --filter-paths "node_modules|contracts/mocks" --disable-color \
		--exclude $$(tr ' ' , <<< "$(strip $(SLITHER_LEAVES_OUT))") > $@.log 2>&1 || { cat $@.log; exit 1; }
	@touch $@

# Hours of them: ARGS="--calls 1000000 --seed 1".
invariants: setup
	@python scripts/invariants.py $(ARGS)

# What is proved, and how: docs/proofs.md, which it writes.
prove: setup .build/prove/bin/halmos
	@python scripts/prove.py $(ARGS)

.build/prove/bin/halmos: requirements-prove.lock | .build/tools
	@echo "setup: provers into .build/prove"
	@rm -rf .build/prove && $(PYTHON) -m venv .build/prove
	@.build/prove/bin/python -m pip -qq --no-input install --require-hashes --no-deps -r requirements-prove.lock
	@touch $@

# Small mistakes in the contracts and in Python, and which of them no test notices: docs/mutation.md, which it writes. Hours;
# ARGS="--sample 100", ARGS="--python rebalancer/send --quick --sample 20".
mutate: setup
	@python -m scripts.mutation $(ARGS)

bench: setup
	@python -m scripts.benchmarks $(ARGS)

attacks: setup
	@python -m scripts.attacks $(ARGS)

# A quarter of an hour: ARGS="--seeds 5 --first-seed 1", ARGS="-k reorg".
chaos: setup
	@pytest -m chaos tests/chaos $(ARGS)

clean:
	rm -rf $(VENV) node_modules .build out cache rebalancer/artifacts .attacks .bench .demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Versions and hashes for every Python from 3.11 on; no address of any package index.
lock:
	@[[ -x .build/uv/bin/uv ]] || { $(PYTHON) -m venv .build/uv && .build/uv/bin/python -m pip -qq install $(UV); }
	.build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --upgrade --group dev --extra devnet --output-file requirements.lock pyproject.toml
	for group in build prove; do .build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --upgrade --group $$group --output-file requirements-$$group.lock; done
	@rm -rf .build/lock && mkdir -p .build/lock && cp package.json .npmrc .build/lock # apart from node_modules, which holds one platform's
	npm install --prefix .build/lock --package-lock-only --loglevel=error
	@cp .build/lock/package-lock.json .
	@! grep -nE '://|--(extra-)?index-url|--find-links' requirements*.lock || { echo "a lock names a package index" >&2; exit 1; }
	@! grep -n '"resolved"' package-lock.json || { echo "package-lock.json names a package registry" >&2; exit 1; }
