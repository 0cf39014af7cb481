# make demo     the whole way on a drawn data set, from nothing to a page, in minutes
# make test     formatting, lints and every test
# make help     all targets
# Needs Rust, make and a C compiler, and `make demo` nothing else. On Debian and Ubuntu `make test` installs the Vulkan loader
# and Mesa's drivers, Chromium and axe-core where they are missing, and says so first (packaging/install-tools); beside these and
# the crates nothing is fetched.

# How the demo trains. Anything `vggkit train --help` knows may stand here.
DEMO_TRAIN ?= --depth 11 --width 0.25 --batch-size 32 --epochs 10 --schedule cosine --warmup 1

CARGO       ?= cargo
TARGET       = $(or $(CARGO_TARGET_DIR),target)
VGGKIT       = $(TARGET)/release/vggkit
DEMO_DATA    = data/demo
DEMO_RUN     = demo-vgg11
# The demo keeps to folders of its own: its predictions do not replace those of real runs.
DEMO_PREDICTIONS = $(DEMO_DATA)/predictions.csv

PORTABLE = aarch64-unknown-linux-gnu
# Drivers complain about a machine without a session when this is unset.
export XDG_RUNTIME_DIR ?= /tmp

.PHONY: demo live test build clean help tools portable vulkan browser tensorboard fuzz torture onnx mpi mpi-network install \
	uninstall dist

# It trains on a graphics card where there is one with its driver, else on the CPU; it installs nothing.
demo: build
	$(VGGKIT) prepare --demo
	$(VGGKIT) verify --data $(DEMO_DATA)
	$(VGGKIT) train --data $(DEMO_DATA) --run $(DEMO_RUN) --overwrite $(DEMO_TRAIN)
	$(VGGKIT) evaluate $(DEMO_RUN) --data $(DEMO_DATA)
	$(VGGKIT) predict $(DEMO_RUN) --data $(DEMO_DATA) --out $(DEMO_PREDICTIONS)
	$(VGGKIT) report --data $(DEMO_DATA) --predictions $(DEMO_PREDICTIONS) --live $(DEMO_RUN)
	@echo
	@echo "The page is file://$(CURDIR)/site/index.html"
	@echo "The network itself is in file://$(CURDIR)/site/live.html, for a browser with WebGPU"

# Asks the network in site/live.html, in headless Chromium by WebGPU on the processor, about each image that it brings along.
live: browser
	VGGKIT_LIVE="$(CURDIR)/site/live.html" $(CARGO) test --locked --test browser -- --ignored --nocapture the_page_at_hand

# What is missing is said and installed first; the tests come last, so that their runner's closing line is the last that is printed.
test: tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@$(MAKE) --no-print-directory portable
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo "$(CARGO) nextest run --locked --profile ci" && $(CARGO) nextest run --locked --profile ci; \
	else \
		echo "$(CARGO) test --locked" && $(CARGO) test --locked; \
	fi

# The two components that a minimal Rust lacks, and what the tests of the GPU engine and of the page fail without; each also by
# itself. cargo-nextest is used where it is installed; cargo test does as well.
INSTALL_TOOLS = CARGO="$(CARGO)" packaging/install-tools
tools:
	@$(INSTALL_TOOLS) rustfmt clippy vulkan chromium axe-core

vulkan:
	@$(INSTALL_TOOLS) vulkan

browser:
	@$(INSTALL_TOOLS) chromium axe-core

# The paths for processors that are not x86-64 compile, where their standard library can be had; without https, since ring
# would need a C compiler for them.
portable:
	@test -d "$$(rustc --print sysroot)/lib/rustlib/$(PORTABLE)/lib" || echo "rustup target add $(PORTABLE)"
	@if rustup target add $(PORTABLE) >/dev/null 2>&1; then \
		echo "$(CARGO) clippy --locked --no-default-features --target $(PORTABLE) -- -D warnings"; \
		$(CARGO) clippy --locked --no-default-features --target $(PORTABLE) -- -D warnings; \
	else echo "not checked for $(PORTABLE): rustup cannot add it"; fi

# Trains, stops, goes on, and has TensorBoard's own reader (from PyPI, into a virtual environment of its own) say what it sees.
TENSORBOARD      ?= tensorboard==2.21.0
TENSORBOARD_VENV  = $(TARGET)/tensorboard
TENSORBOARD_RUNS  = $(TENSORBOARD_VENV)/runs
TENSORBOARD_TRAIN = $(VGGKIT) train --data $(TENSORBOARD_VENV)/data/demo --runs $(TENSORBOARD_RUNS) --engine cpu --quiet \
	--width 0.05 -i 32 -b 8 -e 4 -es 0 --tensorboard-histograms
tensorboard: build
	@test -e $(TENSORBOARD_VENV)/installed || { set -e; echo "installing $(TENSORBOARD)"; \
	rm -rf $(TENSORBOARD_VENV); python3 -m venv $(TENSORBOARD_VENV); \
	$(TENSORBOARD_VENV)/bin/pip install --quiet --disable-pip-version-check $(TENSORBOARD) 'setuptools<81'; \
	touch $(TENSORBOARD_VENV)/installed; }
	rm -rf $(TENSORBOARD_RUNS)
	$(VGGKIT) prepare --demo --quiet --data $(TENSORBOARD_VENV)/data
	$(TENSORBOARD_TRAIN) --run demo-whole
	$(TENSORBOARD_TRAIN) --run demo-stopped --max-steps 7
	cp $(TENSORBOARD_RUNS)/demo-stopped/last.safetensors $(TENSORBOARD_VENV)/checkpoint
	$(VGGKIT) train --resume $(TENSORBOARD_RUNS)/demo-stopped --quiet --engine cpu --max-steps 50
	cp $(TENSORBOARD_VENV)/checkpoint $(TENSORBOARD_RUNS)/demo-stopped/last.safetensors
	$(VGGKIT) train --resume $(TENSORBOARD_RUNS)/demo-stopped --quiet --engine cpu --max-steps 100000
	$(TENSORBOARD_VENV)/bin/python tests/tensorboard/check.py $(TENSORBOARD_RUNS)/demo-whole $(TENSORBOARD_RUNS)/demo-stopped

build:
	$(CARGO) build --release --locked

# The program for `mpirun` and `srun`, and the tests that need mpirun, one after another: each starts several processes.
mpi:
	@$(INSTALL_TOOLS) clippy mpi vulkan
	$(CARGO) clippy --locked --features mpi --lib --bins --test mpi -- -D warnings
	$(CARGO) build --release --locked --features mpi
	$(CARGO) test --locked --features mpi --test mpi -- --test-threads 1

# The model of docs/distributed.md beside a step of 4 ranks in network namespaces of this machine, as root: tests/mpi/namespaces.sh says
# how. `make mpi` first.
mpi-network:
	tests/mpi/namespaces.sh $(VGGKIT)

# Where a user's or a system's programs are; DESTDIR stands ahead of it for packagers. Root need not build: `make build`, then
# `sudo make install`. The program needs none of these files to run.
PREFIX     ?= /usr/local
SHARE       = $(DESTDIR)$(PREFIX)/share
BASH        = $(SHARE)/bash-completion/completions
ZSH         = $(SHARE)/zsh/site-functions
FISH        = $(SHARE)/fish/vendor_completions.d
MAN         = $(SHARE)/man/man1
DOC         = $(SHARE)/doc/vggkit
DOCUMENTS   = README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE docs/manual.md docs/weights.md docs/recipes.md docs/distributed.md \
	docs/formats.md
MADE        = $(TARGET)/install
install: $(VGGKIT)
	rm -rf $(MADE)
	mkdir -p $(MADE)
	$(VGGKIT) generate completions bash >$(MADE)/vggkit
	$(VGGKIT) generate completions zsh >$(MADE)/_vggkit
	$(VGGKIT) generate completions fish >$(MADE)/vggkit.fish
	$(VGGKIT) generate man $(MADE)/man1
	install -d $(DESTDIR)$(PREFIX)/bin $(BASH) $(ZSH) $(FISH) $(MAN) $(DOC)
	install -m 755 $(VGGKIT) $(DESTDIR)$(PREFIX)/bin/vggkit
	install -m 644 $(MADE)/vggkit $(BASH)/vggkit
	install -m 644 $(MADE)/_vggkit $(ZSH)/_vggkit
	install -m 644 $(MADE)/vggkit.fish $(FISH)/vggkit.fish
	install -m 644 $(MADE)/man1/*.1 $(MAN)
	install -m 644 $(DOCUMENTS) $(DOC)

$(VGGKIT):
	$(MAKE) --no-print-directory build

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/vggkit $(BASH)/vggkit $(ZSH)/_vggkit $(FISH)/vggkit.fish
	rm -f $(MAN)/vggkit.1 $(MAN)/vggkit-*.1
	rm -f $(addprefix $(DOC)/,$(notdir $(DOCUMENTS)))
	if test -d $(DOC); then rmdir $(DOC); fi

# Archives of a release with their checksums, in $(TARGET)/dist: packaging/dist.sh says for what machines.
dist:
	packaging/dist.sh $(TARGET)/dist

# Looks for inputs that break what reads files, 15 minutes a target; needs what fuzz/README.md names, and `test` does not.
FUZZ_SECONDS ?= 900
fuzz:
	set -e; for target in $$($(CARGO) +nightly fuzz list); do \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=20; \
	done

# Every file operation of every command fails once and is once the last one before kill -9, a GPU is lost ahead of every submission,
# and commands are killed at random moments for so many minutes; TORTURE_SEED=N draws the same moments again.
TORTURE_MINUTES ?= 10
torture: vulkan
	TORTURE=all TORTURE_MINUTES=$(TORTURE_MINUTES) $(CARGO) test --locked --test faults -- \
		--include-ignored --nocapture --test-threads 2
	TORTURE=all $(CARGO) test --locked --test engines -- --nocapture submission

# onnxruntime and PyTorch compute what `vggkit export` writes of 13 networks, and say how far they are from our own logits
# (tests/export/check.py). They come from PyPI into target/onnx, PyTorch with CUDA's libraries (5 GB); where it cannot be had, the
# ONNX files are checked without it.
ONNX_PYTHON ?= python3
ONNX_ENV     = $(TARGET)/onnx/env
ONNX_CASES   = $(TARGET)/onnx/cases
onnx:
	@test -x $(ONNX_ENV)/bin/python || $(ONNX_PYTHON) -m venv $(ONNX_ENV)
	@$(ONNX_ENV)/bin/python -c "import onnx, onnxruntime, safetensors, numpy" 2>/dev/null || { \
		echo "installing onnx, onnxruntime, safetensors and numpy from PyPI into $(ONNX_ENV)"; \
		$(ONNX_ENV)/bin/python -m pip install -q onnx onnxruntime safetensors numpy; }
	@$(ONNX_ENV)/bin/python -c "import torch" 2>/dev/null || { \
		echo "installing PyTorch from PyPI into $(ONNX_ENV): some GB"; \
		$(ONNX_ENV)/bin/python -m pip install -q torch; } || \
		echo "PyTorch cannot be had from PyPI: its folders are not checked" >&2
	@rm -rf $(ONNX_CASES)
	VGGKIT_ONNX_CASES=$(abspath $(ONNX_CASES)) $(CARGO) test --locked --test export -- --ignored write_cases
	$(ONNX_ENV)/bin/python tests/export/check.py $(ONNX_CASES) tests/export/golden

# What the demo made and what cargo built; real data and real runs stay.
clean:
	rm -rf $(DEMO_DATA) runs/$(DEMO_RUN)
	$(CARGO) clean

help:
	@echo "make demo     prepare the demo set, train, evaluate, predict, render site/index.html"
	@echo "make live     ask the network in site/live.html in headless Chromium"
	@echo "make test     formatting, lints, all tests"
	@echo "make build    $(VGGKIT)"
	@echo "make install  program, completions, man pages below PREFIX (/usr/local); make uninstall"
	@echo "make dist     archives of a release in $(TARGET)/dist"
	@echo "make torture  fail every file operation, kill commands at random for TORTURE_MINUTES (10)"
	@echo "make tensorboard  TensorBoard's own reader reads what train --tensorboard wrote"
	@echo "make onnx     onnxruntime and PyTorch, from PyPI, compute what vggkit export writes"
	@echo "make mpi      the program for mpirun and srun, and its tests; installs an MPI where there is none"
	@echo "make mpi-network  what 4 ranks reach over slow lines beside what bench --model says, as root"
	@echo "make fuzz     look for inputs that break what reads files (fuzz/README.md)"
	@echo "make clean    remove what the demo made and what cargo built"
