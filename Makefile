# make demo     the whole way on a drawn data set, from nothing to a page, in minutes
# make test     formatting, lints and every test
# make help     all targets
# Needs Rust, make and a C compiler; no other library, and no network once the crates are there.

# How the demo trains. Anything `vggkit train --help` knows may stand here.
DEMO_TRAIN ?= --depth 11 --width 0.25 --batch-size 32 --epochs 10 --schedule cosine --warmup 1

CARGO       ?= cargo
TARGET       = $(or $(CARGO_TARGET_DIR),target)
VGGKIT       = $(TARGET)/release/vggkit
DEMO_DATA    = data/demo
DEMO_RUN     = demo-vgg11
# The demo keeps to folders of its own: its predictions do not replace those of real runs.
DEMO_PREDICTIONS = $(DEMO_DATA)/predictions.csv

.PHONY: demo test build clean help tools

demo: build
	$(VGGKIT) prepare --demo
	$(VGGKIT) verify --data $(DEMO_DATA)
	$(VGGKIT) train --data $(DEMO_DATA) --run $(DEMO_RUN) --overwrite $(DEMO_TRAIN)
	$(VGGKIT) evaluate $(DEMO_RUN) --data $(DEMO_DATA)
	$(VGGKIT) predict $(DEMO_RUN) --data $(DEMO_DATA) --out $(DEMO_PREDICTIONS)
	$(VGGKIT) report --data $(DEMO_DATA) --predictions $(DEMO_PREDICTIONS)
	@echo
	@echo "The page is file://$(CURDIR)/site/index.html"

# The tests come last, so that their runner's closing line is the last that is printed.
test: tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo "$(CARGO) nextest run --locked --profile ci" && $(CARGO) nextest run --locked --profile ci; \
	else \
		echo "$(CARGO) test --locked" && $(CARGO) test --locked; \
	fi

# The two components that a minimal Rust lacks. cargo-nextest is used where it is installed; cargo test does as well.
tools:
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy

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
