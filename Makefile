# Needs Python >= 3.10 and make, nothing else: every target below installs what it uses into .venv, once. uv is used where it is there.
# Another interpreter: make PYTHON=python3.12 test. Without uv though it is there: make UV= test.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UNFINISHED := $(VENV)/.unfinished
PYTHON ?=
UV ?= $(shell uv --version >/dev/null 2>&1 && echo uv)

ifeq ($(UV),)
CREATE = $(or $(PYTHON),python3) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install --quiet
READY = $(BIN)/python -m pip --version || $(BIN)/python -m ensurepip
else
CREATE = $(UV) venv --quiet $(if $(PYTHON),--python $(PYTHON)) $(VENV)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python
READY = true
endif

.PHONY: help setup demo test test-all versions pythons fuzz faults soak flower ray lint docs benchmark arm64 clean

help: ## this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):[^#]*## \(.*\)/make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r target what; do printf '%-15s %s\n' "$$target" "$$what"; done

setup: $(STAMP) ## .venv with everything that the targets below use

# A .venv that an interrupted run left half filled is made anew; a whole one is only brought up to date.
$(STAMP): pyproject.toml requirements.lock
	@if [ -e $(UNFINISHED) ] || ! $(BIN)/python -c '' 2>/dev/null || ! { $(READY); } >/dev/null 2>&1; then \
		rm -rf $(VENV) && $(CREATE); \
	fi
	@$(BIN)/python -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "Python >= 3.10 is needed: make PYTHON=python3.x")' \
		|| { touch $(UNFINISHED); exit 1; }
	@touch $(UNFINISHED)
	@echo "Installing requirements.lock into $(VENV) (several GB on Linux; once)"
	$(INSTALL) --no-deps -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@rm $(UNFINISHED)
	@touch $@

demo: $(STAMP) ## send bundled pictures through each codec; draws demo.png
	$(BIN)/codec demo --out demo.png

# A worker a core, each with one thread: the tests' models are too small to share. What tests write goes when they end.
TESTS = @place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && trap 'exit 130' INT TERM && \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v --tb=short --durations=10 --basetemp "$$place/tests" -n 2 --dist loadfile --no-loadscope-reorder

test: $(STAMP) ## the quick tests: at most 4 minutes on 2 idle cores
	$(TESTS) -m "not long"

test-all: $(STAMP) ## all tests: also trainings, studies and a wheel; at most 12 minutes on 2 cores
	$(TESTS)

# transformers alone, in folders of their own in front of .venv: 100 MB each, below build/versions.
versions: $(STAMP) ## shipped and new codecs on several versions of transformers
	$(BIN)/python -m tests.versions

# Each in environments of its own below build/pythons, which go again: 6 GB at a time, and several GB of downloads.
# make pythons PYTHONS="/usr/bin/python3.12 python3.13" PYTHONS_TORCH=torch-2.13.0+cpu-cp312-cp312-linux_x86_64.whl
PYTHONS ?=
PYTHONS_TORCH ?=
pythons: $(STAMP) ## the wheel on each Python that is found: the README's lines and commands
	$(BIN)/python -m tests.pythons $(if $(PYTHONS_TORCH),--torch $(PYTHONS_TORCH)) $(PYTHONS)

# Blobs, checkpoints, bundles and pictures as an adversary makes them, over all decoders, for as long as you like:
# make fuzz SECONDS=3600 TARGET=blobs. What is a fault is kept in build/fuzz.
SECONDS ?= 600
TARGET ?= all
fuzz: $(STAMP) ## attack decoders and loaders, for 10 minutes or SECONDS=...
	$(BIN)/python -m tests.attacks.fuzz --seconds $(SECONDS) --target $(TARGET)

# Two devices and a server on loopback, in build/faults; at most 10 minutes.
faults: $(STAMP) ## kill devices and server until 10,000 requests are answered
	rm -rf build/faults
	$(BIN)/python -m tests.link.killing build/faults

# A server and its clients on loopback: make soak MINUTES=12 shortens it.
MINUTES ?= 30
soak: $(STAMP) ## a server at 80% of the most it can do, for 30 minutes or MINUTES=...
	$(BIN)/python -m eval.link.soak --minutes $(MINUTES)

# Flower pins other packages than .venv holds: it is put in front of those, into build/flower. Python >= 3.11.
flower: $(STAMP) ## learning together on Flower, in an environment of its own
	mkdir -p build
	test -d build/flower || $(BIN)/python -m venv build/flower
	$(if $(UV),$(UV) pip install --quiet --python build/flower/bin/python,build/flower/bin/python -m pip install --quiet) \
		"flwr[simulation]==1.42.*" "numpy==$$($(BIN)/python -c 'import numpy; print(numpy.__version__)')"
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		$$(build/flower/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth
	PYTHONPATH=. OMP_NUM_THREADS=1 build/flower/bin/python -m pytest -v tests/training/test_flower.py 2>&1 | tee build/flower.log
	! grep -qE "failed|error|skipped" build/flower.log

# Ray and what it needs, in a folder in front of .venv's packages: 300 MB in build/ray, once. uv or pip takes the lock's versions.
RAY := ray[serve]==2.60.0
build/ray/.whole: $(STAMP)
	rm -rf build/ray && mkdir -p build
	$(INSTALL) --target build/ray --constraint requirements.lock "$(RAY)"
	@touch $@

ray: build/ray/.whole ## copies of the server behind Ray's proxy, of which one is killed under load
	@place=$$(mktemp -d /tmp/rXXXX) && trap 'rm -rf "$$place"' EXIT && OMP_NUM_THREADS=1 PYTHONPATH=build/ray:. \
		$(BIN)/python -m pytest -v --tb=short --basetemp "$$place/t" tests/serve/test_cluster.py

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy codec training eval

# The pages of README and docs/ as a site, build/site/index.html; a broken link is an error.
docs: $(STAMP) ## README and docs/ as a site in build/site
	$(BIN)/mkdocs build --quiet

benchmark: $(STAMP) ## how fast the coders and the queue are
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only

# The device's runtime on an emulated aarch64 machine: the bytes of 1,000 arrays of symbols against the golden digest. Debian or Ubuntu
# with qemu-user and a cross compiler; takes two minutes and 100 MB of Debian's arm64 packages, into build/.
arm64: $(STAMP) ## the device's runtime on an emulated aarch64 machine
	rm -rf build/arm64/bundle
	mkdir -p build/arm64
	$(BIN)/codec export vit-tiny-cifar10 --target jetson-nano --out build/arm64/bundle
	tests/arm64.sh build/arm64 build/arm64/bundle/taskcodec_device.py build/arm64/bundle/tables.npz | tee build/arm64/log
	for digest in $$(tail -n 2 build/arm64/log | cut -d" " -f2-); do grep -q "\"$$digest\"" tests/golden/device.json || exit 1; done

clean: ## remove what the other targets make, but for .venv and runs/
	rm -rf build dist demo*.png .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find codec training eval tests -name __pycache__ -type d -prune -exec rm -rf {} +
