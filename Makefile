# Each target does all its own set-up, in .venv/, build/ and target/. Needed: Rust, Python 3.11 or newer, the package registries.
#
#   make demo    an example script over the shipped capture, into build/masked.pcapng
#   make test    everything that is checked: lint, Rust tests, the built wheel's Python tests
#   make test-windows  the wheel for Windows and its tests on a Windows Python under Wine; needs what .ci/run installs
#   make test-kernels  the live tests under other Linux kernels, in emulated machines: hours, or with SMOKE=1 some minutes;
#                KERNELS names the Debian releases whose kernels are tried (all of tests/kernels/run.py)
#   make lint    format, clippy, types, stub
#   make fuzz    the fuzz targets, FUZZ_SECONDS (60) each, and how often each ran; needs rustup, for a nightly compiler
#   make sanitize  the engine under ThreadSanitizer and loom, the Python tests under AddressSanitizer; needs rustup and gcc
#   make bench   every benchmark beside its peer, one table of ratios, and what the command passthru tells of them
#   make bench-linux  floods, bulk transfers and 10,000 connections through live handles, beside a plain C loop; as root
#   make wheel   the wheel that is published: dist/*-manylinux_2_17_x86_64.whl
#   make clean   removes what the above made

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test test-windows test-kernels lint lint-rust lint-python fuzz sanitize sanitize-thread sanitize-loom sanitize-address bench bench-linux wheel clean

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# One interpreter for every build, so that switching targets rebuilds nothing.
export PYO3_PYTHON := $(BIN)/python

# Folders are among the sources because a removed file changes nothing but its folder.
SOURCES := Cargo.toml pyproject.toml README.md $(wildcard Cargo.lock LICENSE*) \
  $(shell find src python -name __pycache__ -prune -o -not -name '*.pyc' -not -name '*.so' -print)
DEMO_OUTPUT := build/masked.pcapng
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(basename $(notdir $(wildcard tests/fuzz/fuzz_targets/*.rs)))

demo: $(VENV)/.installed-cli
	$(BIN)/oxidivert run examples/mask_token.py "tcp.PayloadLength > 0" --read examples/traffic.pcapng --write $(DEMO_OUTPUT)
	@echo "written: $(DEMO_OUTPUT)"

test: lint
	cargo test --locked --lib --tests --benches
	cargo test --locked --doc
	$(BIN)/python -m pytest

test-windows:
	.ci/windows lint
	.ci/windows test

# Installs what it needs of Debian's packages, as .ci/run does; the tests need what that installs.
test-kernels: $(VENV)/.installed-test
	$(BIN)/python tests/kernels/run.py $(if $(SMOKE),--smoke) $(KERNELS)

lint: lint-rust lint-python

lint-rust: $(VENV)/.created
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --features python -- -D warnings

lint-python: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy --strict
	$(BIN)/python -m mypy.stubtest oxidivert --mypy-config-file pyproject.toml

fuzz: $(addprefix fuzz-,$(FUZZ_TARGETS))

# What leads to new places goes to build/; what crashes to tests/fuzz/crashes/, where the tests find it from then on.
.PHONY: $(addprefix fuzz-,$(FUZZ_TARGETS))
$(addprefix fuzz-,$(FUZZ_TARGETS)): fuzz-%: build/fuzz/.installed
	mkdir -p build/fuzz/corpus/$* tests/fuzz/crashes/$*
	PATH="$(CURDIR)/build/fuzz/bin:$$PATH" cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir build/fuzz/target $* \
	  build/fuzz/corpus/$* tests/fuzz/corpus/$* tests/fuzz/crashes/$* -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	  -print_final_stats=1 -artifact_prefix=tests/fuzz/crashes/$*/ >build/fuzz/$*.log 2>&1 \
	  || { tail -n 60 build/fuzz/$*.log; exit 1; }
	@sed -n 's/^stat::number_of_executed_units: */$*: executions: /p' build/fuzz/$*.log

build/fuzz/.installed:
	rustup run nightly rustc --version || rustup toolchain install nightly --profile minimal --no-self-update
	cargo install --quiet --locked --root build/fuzz cargo-fuzz
	touch $@

# None of this is part of the tests: it takes minutes and a nightly compiler with the standard library's source. What is missing
# is told, and the rest runs.
NIGHTLY_SOURCE = $$(rustup run nightly rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library
TARGET := x86_64-unknown-linux-gnu
SKIP_WITHOUT_NIGHTLY = test -d "$(NIGHTLY_SOURCE)" || { \
  echo "$@: skipped, needs: rustup toolchain install nightly --profile minimal --component rust-src"; exit 0; }

sanitize: sanitize-loom sanitize-thread sanitize-address

sanitize-loom:
	RUSTFLAGS="--cfg loom" cargo test --locked --release --target-dir build/sanitize/loom --lib engine::interleavings

# The standard library is built too: races are found only where all code is watched.
sanitize-thread:
	$(SKIP_WITHOUT_NIGHTLY); RUSTFLAGS=-Zsanitizer=thread cargo +nightly test --locked -Zbuild-std --target $(TARGET) \
	  --target-dir build/sanitize/thread --lib --test rust -- engine handle

# Python does not know the sanitizer, so that its runtime is loaded before everything else.
sanitize-address: $(VENV)/.installed-test
	$(SKIP_WITHOUT_NIGHTLY); asan="$$(gcc -print-file-name=libasan.so 2>/dev/null || true)"; \
	  test -f "$$asan" || { echo "$@: skipped, needs gcc with libasan"; exit 0; }; \
	  RUSTFLAGS="-Zsanitizer=address -Zexternal-clangrt" cargo +nightly build --locked -Zbuild-std --target $(TARGET) \
	    --target-dir build/sanitize/address --features python; \
	  rm -rf build/sanitize/python; mkdir -p build/sanitize/python; cp -r python/oxidivert build/sanitize/python/; \
	  cp build/sanitize/address/$(TARGET)/debug/liboxidivert.so build/sanitize/python/oxidivert/_native.abi3.so; \
	  PYTHONPATH=build/sanitize/python LD_PRELOAD="$$asan" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	    $(BIN)/python -m pytest

bench: $(VENV)/.installed-bench
	OXIDIVERT_WINDIVERT_C="$$($(BIN)/python benches/python/windivert_c.py)" \
	  OXIDIVERT_LIBPCAP="$$(echo $(CURDIR)/$(VENV)/lib/python3*/site-packages/cypcap.libs/libpcap-*)" cargo bench --locked -- --noplot
	$(BIN)/python -m pytest benches/python --benchmark-enable --benchmark-only --benchmark-json=build/bench.json
	$(BIN)/python benches/report.py build/bench.json
	$(BIN)/python benches/passthru.py

# Floods in namespaces of their own; needs root and what .ci/run installs, and iptables.
bench-linux: $(VENV)/.installed-bench
	$(BIN)/python benches/linux/race.py
	$(BIN)/python benches/linux/bulk.py
	$(BIN)/python benches/linux/flows.py
	$(BIN)/python benches/linux/passthru.py

wheel: $(VENV)/.created
	$(PIP) install 'maturin[zig]>=1.9.4,<2' auditwheel abi3audit
	rm -rf dist
	PATH="$(BIN):$$PATH" $(BIN)/maturin build --locked --release --zig --compatibility manylinux2014 --out dist
	$(BIN)/auditwheel show dist/*.whl | tee /dev/stderr | grep manylinux_2_17_x86_64 >/dev/null
	$(BIN)/abi3audit --strict --summary dist/*.whl

clean:
	rm -rf $(VENV) build dist target

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name it: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

build/wheel/.built: $(SOURCES) | $(VENV)/.created
	$(PIP) install 'maturin>=1.9.4,<2'
	rm -rf build/wheel
	$(BIN)/maturin build --locked --release --out build/wheel
	touch $@

# The stem is the extra that is installed beside the wheel.
$(VENV)/.installed-%: build/wheel/.built pyproject.toml
	$(PIP) install --force-reinstall --no-deps build/wheel/*.whl
	$(PIP) install "$$(echo build/wheel/*.whl)[$*]"
	touch $@
