# Targets for people and for CI; `make help` lists them.
PYTHON ?= python3.11
BIN := .venv/bin
UV_VERSION := 0.13.9
# A test that takes so long, as none does, is stuck where no signal reaches it: pytest ends, with all stacks printed.
HUNG_S := 1500

.DEFAULT_GOAL := help
.PHONY: help install run test test-gpu e2e lint type bench bench-gpu soak demo-model demo-eval lock release clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## Install the locked dependencies and Tercet into .venv

.venv/installed: pyproject.toml requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 (Debian: apt-get install python3.11 python3.11-venv libpython3.11)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "cannot make a virtual environment: install python3.11-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirements requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: install ## Serve the demo model here: Triton with three stages and the gateway
	$(BIN)/tercet up examples/demo.yaml

test: install lint type ## Lint, check types and run every test that needs no Kubernetes and no GPU
	$(BIN)/python -m pytest -o faulthandler_timeout=$(HUNG_S) -o faulthandler_exit_on_timeout=true

test-gpu: install ## The engine's equality tests with its stages on the first CUDA device
	$(BIN)/python -m pytest -m gpu tests/engine

e2e: install ## The product on a real one-node Kubernetes (root; builds its programs once); E2E=ci: the short profile
	hack/e2e.sh $(E2E)

lint: install ## ruff and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

type: install ## mypy --strict
	$(BIN)/mypy wire/tercet_wire engine/tercet_engine host/tercet_host gateway/tercet_gateway operator/tercet_operator cli/tercet_cli
	$(BIN)/mypy tests bench demo examples hack charts/tercet/files
	for stage in thinker talker code2wav; do $(BIN)/mypy model_repo/$$stage/1/model.py || exit 1; done

bench: install ## Measure against transformers on this machine; prints tables, writes bench/results/
	$(BIN)/python -m bench
	$(BIN)/python -m bench.engine --device cpu

bench-gpu: install ## The engine in the shapes of 3B and 7B on a CUDA device (BENCH="--quick" tries it)
	$(BIN)/python -m bench.engine --device cuda:0 $(BENCH)

soak: install ## Hundreds of turns in a row: memory, KV blocks, processes
	$(BIN)/python -m pytest -m soak --timeout 3600

demo-model: .venv/demo-installed ## Make the demo model again: a night on two cores (DEMO="--device cuda" on a GPU)
	$(BIN)/python -m demo $(DEMO)

demo-eval: .venv/demo-installed ## What the demo model says, hears and sees, how well and how fast; against transformers
	$(BIN)/python -m demo.evaluate $(DEMO_EVAL)

.venv/demo-installed: .venv/installed requirements/demo.txt
	@command -v espeak-ng >/dev/null || { echo "espeak-ng not found: install it (Debian: apt-get install espeak-ng)"; exit 1; }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirements requirements/demo.txt
	@touch $@

lock: ## Write requirements/*.txt anew from pyproject.toml
	hack/lock.sh $(BIN)/uv

release: install ## Wheel, sdist, chart, images, SBOMs and their sums in dist/ (RELEASE=--no-images leaves images out)
	hack/release.sh $(RELEASE)

clean: ## Remove the environment and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist bench/results
