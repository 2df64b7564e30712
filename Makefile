# The project's commands. Nothing is needed but make and a Python >= 3.11 with venv: the first target
# that needs packages installs them, once, from requirements.lock into .venv.

VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed

# The first of these that runs and is new enough. `make PYTHON=/path/to/python …` names another.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)

# Every file comes from the lock, with its hash: no dependency is resolved or added by pip. Bytecode
# is compiled at the first import, and only of what is imported: that saves a third of the time.
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --no-deps --no-compile --progress-bar off

# Where `make ablation` works, and how it can be made smaller: SEEDS=2 ARGS="train.epochs=0.1"
WORKDIR ?= results/nonlinearity
SEEDS ?=
ARGS ?=

# Test files go to as many processes as there are cores, at most four, since each holds JAX's memory;
# in their order, for files of few tests are not the quick ones.
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Eight virtual devices are decided on once a process. Where PYTEST_ARGS name tests, only those run.
MULTI_DEVICE = $(if $(findstring tests/,$(PYTEST_ARGS)),,$(BIN)/python -m pytest $(PYTEST_ARGS) tests/multi_device)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help ablation install kernels test test-slow faults test-tpu check docs audit-dependencies format dist test-wheel lock upgrade clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

ablation: install ## train every arm and seed of experiments/nonlinearity.py, then the report
	@# Runs that failed (status 1) do not keep the others from their report.
	@set -x; status=0; \
	$(BIN)/xception-jax sweep experiments/nonlinearity.py --workdir "$(WORKDIR)" \
		$(if $(SEEDS),--seeds $(SEEDS)) $(ARGS) || status=$$?; \
	test $$status -le 1 || exit $$status; \
	$(BIN)/xception-jax report "$(WORKDIR)" || exit $$?; \
	exit $$status

install: $(INSTALLED) ## .venv with all of requirements.lock and this project, editable; C++ kernels if there is a compiler
	@$(BIN)/python -m xception_jax.ops.native --if-possible

kernels: $(INSTALLED) ## build the C++ kernels for CPUs into the user's cache, or fail (needs a C++17 compiler)
	$(BIN)/python -m xception_jax.ops.native

test: $(INSTALLED) ## the tests, without those marked slow
	$(MULTI_DEVICE)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(INSTALLED) $(VENV)/.slow ## the tests marked slow (fetches Ray, and servers of S3 and GCS, for their own)
	$(if $(MULTI_DEVICE),$(MULTI_DEVICE) -m slow)
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m slow --ignore tests/faults

faults: $(INSTALLED) ## kill, stop, starve and damage a small sweep, for 38 minutes; writes docs/reliability.md
	FAULTS_RESULTS=docs/reliability.json $(BIN)/python -m pytest -p tests.faults.recording -m promise \
		tests/faults tests/training/test_training_damage.py tests/data/test_data_damage.py; status=$$?; \
	$(BIN)/python tests/faults/reliability.py && exit $$status

# The TPU compiler takes hundreds of megabytes and is in no lock; what it compiles runs nowhere here.
test-tpu: $(INSTALLED) ## the tests that ask the TPU compiler; installs it; needs no TPU, but minutes
	$(BIN)/python -m pip --disable-pip-version-check install --quiet "jax[tpu]==$$($(BIN)/python -c 'import jax; print(jax.__version__)')"
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -m slow tests/planning/test_planning_topology.py tests/planning/test_planning_xception.py

# Not in the lock, which everybody installs: Ray is large, and so is what stands for stores. s3fs and
# moto share botocore, of which aiobotocore takes few versions: its extra names the boto3 that fits.
$(VENV)/.slow: $(LOCKED) pyproject.toml
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-build-isolation --editable ".[ray,s3,gcs]" "aiobotocore[boto3]" "moto[s3,server]>=5" "gcp-storage-emulator>=2026.7"
	@touch $@

check: $(INSTALLED) ## lint, format, types, import rules, consistency of what is installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pip --disable-pip-version-check check

# What a page would fetch from another host is an error: the site is complete in itself. The theme's
# script names one host, of which it would fetch Mermaid, and does so only for an element of that class.
docs: $(INSTALLED) ## the documentation site, in site/; a broken link or name is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@! grep -rnoE --include='*.html' '<(script|img|iframe|source|video)[^>]* src(set)?="?(https?:)?//[^" >]*|<link[^>]*rel="?(stylesheet|icon|pre[a-z]+)[^>]* href="?(https?:)?//[^" >]*|class="[^"]*mermaid' site \
		|| { echo "make: a page of site/ fetches this from another host" >&2; exit 1; }

# Of an environment of its own: what it needs is not what the project needs.
audit-dependencies: requirements.lock ## known vulnerabilities in what the lock names (fetches pip-audit)
	@test -x $(VENV)/pip-audit/bin/pip-audit || { "$(PYTHON)" -m venv $(VENV)/pip-audit && $(VENV)/pip-audit/bin/python -m pip --disable-pip-version-check install --quiet pip-audit; }
	$(VENV)/pip-audit/bin/pip-audit --requirement requirements.lock --require-hashes --no-deps --disable-pip --strict

format: $(INSTALLED) ## rewrite the files as `make check` wants them, where that is mechanical
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

dist: $(INSTALLED) ## source distribution and wheel, in dist/
	rm -rf dist
	$(BIN)/hatchling build

test-wheel: dist ## build the wheel, install it in a fresh environment outside the checkout, and use it there
	scripts/test_wheel.sh "$(BIN)/python" dist/*.whl

# In two steps, each with a mark that is made last, so that an interrupted installation is not taken
# for a finished one: the locked packages from scratch when the lock changes; the project alone when
# its metadata does.
$(LOCKED): requirements.lock
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or newer with venv; none of python3.11, python3, python3.12, python3.13, python3.14 is one" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: PYTHON=$(PYTHON) is not a Python 3.11 or newer" >&2; exit 1; }
	@echo "Installing requirements.lock into $(VENV) (once; about a minute)"
	"$(PYTHON)" -m venv --clear $(VENV)
	@# First what builds the one dependency that has no wheel.
	@sed -n '/^setuptools==/,/[^\\]$$/p' $< > $(VENV)/build.lock
	$(PIP_INSTALL) --quiet --require-hashes -r $(VENV)/build.lock
	$(PIP_INSTALL) --require-hashes --use-pep517 --no-build-isolation -r $<
	@# On all cores, which pip does not; without it every process compiles two seconds' worth of
	@# modules again where PYTHONDONTWRITEBYTECODE is set. Some packages hold files for other Pythons.
	@$(BIN)/python -m compileall -q -q -j 0 $(VENV)/lib >/dev/null || true
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml
	$(PIP_INSTALL) --quiet --no-build-isolation --editable .
	@# As above; where nothing may be written later, each of a hundred commands would compile it.
	@$(BIN)/python -m compileall -q -q xception_jax
	@touch $@

# `make lock` keeps every version that is there and still fits, and adds or drops what pyproject.toml
# says; `make upgrade` renews all versions. One lock serves every Python and platform, as far as wheels
# go. It names versions and hashes only, so that any index or mirror serves; uv reads no pip settings, and
# is told to read none of its own (an index in UV_DEFAULT_INDEX is used, not written).
UV_VERSION := 0.13.9
UPGRADE ?=
lock: ## bring requirements.lock in line with pyproject.toml, keeping versions (fetches uv)
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or newer" >&2; exit 1; }
	@test -x $(VENV)/uv/bin/uv || { "$(PYTHON)" -m venv $(VENV)/uv && $(VENV)/uv/bin/python -m pip --disable-pip-version-check install --quiet uv==$(UV_VERSION); }
	@cp requirements.lock requirements.lock.new
	env -u UV_FIND_LINKS -u UV_EXTRA_INDEX_URL -u UV_INDEX $(VENV)/uv/bin/uv pip compile pyproject.toml --extra dev \
		--universal --python-version 3.11 $(if $(UPGRADE),--upgrade) --generate-hashes --no-sources --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock.new
	@! grep -nE '://|^-|==[^ ]*\+|file:| @ ' requirements.lock.new || { echo "make: an address or a local version got into the lock" >&2; exit 1; }
	@mv requirements.lock.new requirements.lock
	@echo "requirements.lock: $$(grep -c == requirements.lock) packages; make install installs them"

upgrade: ## renew every version in requirements.lock (fetches uv)
	$(MAKE) lock UPGRADE=1

clean: ## remove .venv, dist and caches; results stay
	rm -rf $(VENV) dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
