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

.PHONY: setup demo test fuzz lint docs benchmark arm64 clean

setup: $(STAMP)

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

demo: $(STAMP)
	$(BIN)/codec demo --out demo.png

test: $(STAMP)
	$(BIN)/python -m pytest

# Blobs, checkpoints, bundles and pictures as an adversary makes them, over all decoders, for as long as you like:
# make fuzz SECONDS=3600 TARGET=blobs. What is a fault is kept in build/fuzz.
SECONDS ?= 600
TARGET ?= all
fuzz: $(STAMP)
	$(BIN)/python -m tests.attacks.fuzz --seconds $(SECONDS) --target $(TARGET)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy codec training eval

# The pages of README and docs/ as a site, build/site/index.html; a broken link is an error.
docs: $(STAMP)
	$(BIN)/mkdocs build --quiet

benchmark: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only

# The device's runtime on an emulated aarch64 machine: the bytes of 1,000 arrays of symbols against the golden digest. Debian or Ubuntu
# with qemu-user and a cross compiler; takes two minutes and 100 MB of Debian's arm64 packages, into build/.
arm64: $(STAMP)
	rm -rf build/arm64/bundle
	mkdir -p build/arm64
	$(BIN)/codec export vit-tiny-cifar10 --target jetson-nano --out build/arm64/bundle
	tests/arm64.sh build/arm64 build/arm64/bundle/taskcodec_device.py build/arm64/bundle/tables.npz | tee build/arm64/log
	for digest in $$(tail -n 2 build/arm64/log | cut -d" " -f2-); do grep -q "\"$$digest\"" tests/golden/device.json || exit 1; done

# Keeps .venv and runs/.
clean:
	rm -rf build dist demo*.png .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find codec training eval tests -name __pycache__ -type d -prune -exec rm -rf {} +
