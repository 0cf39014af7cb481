# make demo     the whole way on a drawn data set, from nothing to a page, in minutes
# make test     formatting, lints and every test
# make help     all targets
# Needs Rust, make and a C compiler. On Debian and Ubuntu both targets install the Vulkan loader and Mesa's drivers where
# they are missing; beside these and the crates nothing is fetched.

# How the demo trains. Anything `vggkit train --help` knows may stand here.
DEMO_TRAIN ?= --depth 11 --width 0.25 --batch-size 32 --epochs 10 --schedule cosine --warmup 1

CARGO       ?= cargo
TARGET       = $(or $(CARGO_TARGET_DIR),target)
VGGKIT       = $(TARGET)/release/vggkit
DEMO_DATA    = data/demo
DEMO_RUN     = demo-vgg11
# The demo keeps to folders of its own: its predictions do not replace those of real runs.
DEMO_PREDICTIONS = $(DEMO_DATA)/predictions.csv

# What the Vulkan loader reads; lavapipe, the software device that the GPU engine is tested on, is one of them.
VULKAN_DRIVERS ?= /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d
VULKAN_PACKAGES = libvulkan1 mesa-vulkan-drivers
PORTABLE = aarch64-unknown-linux-gnu
# Drivers complain about a machine without a session when this is unset.
export XDG_RUNTIME_DIR ?= /tmp

.PHONY: demo test build clean help tools portable vulkan

# Without Vulkan it trains on the CPU, so that what cannot be installed does not stop it.
demo: build
	-@$(MAKE) --no-print-directory --silent vulkan
	$(VGGKIT) prepare --demo
	$(VGGKIT) verify --data $(DEMO_DATA)
	$(VGGKIT) train --data $(DEMO_DATA) --run $(DEMO_RUN) --overwrite $(DEMO_TRAIN)
	$(VGGKIT) evaluate $(DEMO_RUN) --data $(DEMO_DATA)
	$(VGGKIT) predict $(DEMO_RUN) --data $(DEMO_DATA) --out $(DEMO_PREDICTIONS)
	$(VGGKIT) report --data $(DEMO_DATA) --predictions $(DEMO_PREDICTIONS)
	@echo
	@echo "The page is file://$(CURDIR)/site/index.html"

# The tests come last, so that their runner's closing line is the last that is printed.
test: tools vulkan
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@$(MAKE) --no-print-directory portable
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo "$(CARGO) nextest run --locked --profile ci" && $(CARGO) nextest run --locked --profile ci; \
	else \
		echo "$(CARGO) test --locked" && $(CARGO) test --locked; \
	fi

# The two components that a minimal Rust lacks. cargo-nextest is used where it is installed; cargo test does as well.
tools:
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy

# The paths for processors that are not x86-64 compile, where their standard library can be had.
portable:
	@if rustup target add $(PORTABLE) >/dev/null 2>&1; then \
		echo "$(CARGO) clippy --locked --target $(PORTABLE) -- -D warnings"; \
		$(CARGO) clippy --locked --target $(PORTABLE) -- -D warnings; \
	else echo "not checked for $(PORTABLE): rustup cannot add it"; fi

# The Vulkan loader and lavapipe, without which the tests of the GPU engine fail.
vulkan:
	@loader() { for f in /usr/lib/libvulkan.so.1 /usr/lib/*/libvulkan.so.1 /usr/lib64/libvulkan.so.1 \
		/usr/local/lib/libvulkan.so.1; do test -e "$$f" && return 0; done; return 1; }; \
	lavapipe() { for d in $(VULKAN_DRIVERS); do ls "$$d"/lvp_icd*.json >/dev/null 2>&1 && return 0; done; return 1; }; \
	if test "$$(uname -s)" != Linux || { loader && lavapipe; }; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "The Vulkan loader or Mesa's software driver (lavapipe) is missing. Install them with your system's packages:" >&2; \
		echo "vulkan-loader and mesa-vulkan-drivers on Fedora, vulkan-icd-loader and vulkan-swrast on Arch." >&2; \
		exit 1; \
	fi; \
	if test "$$(id -u)" = 0; then as=; elif command -v sudo >/dev/null; then as=sudo; else \
		echo "Missing: $(VULKAN_PACKAGES). As root: apt-get install $(VULKAN_PACKAGES)" >&2; exit 1; fi; \
	echo "installing $(VULKAN_PACKAGES)"; \
	$$as apt-get update -q && \
	$$as env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(VULKAN_PACKAGES)

build:
	$(CARGO) build --release --locked

# What the demo made and what cargo built; real data and real runs stay.
clean:
	rm -rf $(DEMO_DATA) runs/$(DEMO_RUN)
	$(CARGO) clean

help:
	@echo "make demo     prepare the demo set, train, evaluate, predict, render site/index.html"
	@echo "make test     formatting, lints, all tests"
	@echo "make build    $(VGGKIT)"
	@echo "make clean    remove what the demo made and what cargo built"
