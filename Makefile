# The verbs of this project. Plain cargo does the work; see README.md.

DATA          ?= $(CURDIR)/data
VERSION       ?= 2
PORT          ?= 8084
BALANCER_PORT ?= 8080
SEEDS         ?= 100000
MINUTES       ?= 10
CASES         ?= 100000
SEED          ?= 1

CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
HOST   := $(shell rustc -vV | sed -n 's/^host: //p')
export GENNAKER_BIN_DIR ?= $(TARGET)/release
export GENNAKER_CONTROLS_DIR ?= $(TARGET)/controls
export GENNAKER_DEMO_SERVER ?= $(TARGET)/$(HOST)/release/demo-server

.PHONY: up down push needs build demo-server controls check lint test unit e2e bench fuzz simulate strategy-records canary-records canary-figures canaries versus kill zero-failed-requests soak replicas chaos skew restore smuggling clean

## Running it ---------------------------------------------------------------

up: build                        ## start a registry, push version 1, start Gennaker with the demo
	@demo/up.sh "$(DATA)" "$(PORT)" "$(BALANCER_PORT)"

push: build                      ## push the next version: make push VERSION=2
	@demo/push.sh "$(DATA)" "$(VERSION)"

down:                            ## stop control plane, balancer, instances and the registry
	@demo/down.sh "$(DATA)"

# The balancer is optimized as a whole: that saves a tenth of its processor time, and takes minutes of
# linking that the other programs would not repay.
define BALANCER
$(CARGO) build --profile balancer -p balancer --bin balancer
install -D -m 755 $(TARGET)/balancer/balancer $(TARGET)/release/balancer
endef
define PRODUCT
$(CARGO) build --release -p deploy -p instance -p demo
$(BALANCER)
endef

## Building -----------------------------------------------------------------

needs:                           ## says what is missing before anything is built
	@CARGO="$(CARGO)" demo/needs.sh

build: needs demo-server
	$(PRODUCT)

demo-server: needs               ## the demo's server, linked statically: the only file of its image
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release -p demo --bin demo-server \
	    --no-default-features --target $(HOST)

controls:                        ## the same programs with the switches that the controls need
	$(CARGO) build --release -p deploy -p balancer -p instance --features deploy/controls,balancer/controls
	mkdir -p $(GENNAKER_CONTROLS_DIR)
	install -m 755 $(TARGET)/release/gennaker $(TARGET)/release/balancer $(TARGET)/release/instance $(GENNAKER_CONTROLS_DIR)/
	$(PRODUCT)                   # under their names the product's own are found again

## Proving it ---------------------------------------------------------------

test: lint unit e2e              ## everything the gate runs

check:
	$(CARGO) check --workspace --all-targets

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

unit: build                      ## unit, property, contract, component tests and 200 seeds of each simulator
	$(CARGO) test --workspace --exclude tests

e2e: controls build              ## real binaries, real registry, real Redis
	$(CARGO) test -p tests -- --test-threads=1

zero-failed-requests: controls build  ## every strategy: 100 deployments, at least 1,000,000 requests
	ZERO_FAILED_REQUESTS=long $(CARGO) test -p tests --test it -- --test-threads=1 --nocapture zero_failed_requests:: strategies:: promote::

soak: build                      ## 1,440 deployments, one after the other, under load: memory and descriptors stay flat
	SOAK=long $(CARGO) test -p tests --test it -- --test-threads=1 --nocapture soak::

replicas: build                  ## processes on Redis under kills: 200 executions, 1,500 events, 1,000 webhooks in an outage
	REPLICAS=long $(CARGO) test -p tests --test it -- --test-threads=1 --nocapture replicas:: exactly_once::

chaos: build                     ## kills, stops and lost commits all the time: 1,000 executions, AOF always and everysec
	CHAOS=long $(CARGO) test -p tests --test it -- --test-threads=1 --nocapture chaos::

kill: controls build             ## kill -9 between every pair of consecutive steps of an undisturbed run
	KILL=all $(CARGO) test -p tests --test it -- --test-threads=1 --nocapture kill::

skew: needs                      ## the previous version and this one, one after the other and side by side on one Redis
	previous=$$(tests/previous.sh "$(TARGET)") && $(PRODUCT) && GENNAKER_PREVIOUS_DIR=$$previous \
	    $(CARGO) test -p tests --test it -- --test-threads=1 --nocapture skew::

restore: build                   ## the store is emptied under load; nothing acknowledged is lost
	RESTORE=long $(CARGO) test -p tests --test it -- --test-threads=1 --nocapture restore::

canary-records:                  ## compares recorded judgements: make canary-records FILE=records.jsonl.gz
	CANARY_RECORDS=$(abspath $(FILE)) $(CARGO) test -q -p judge --test it -- --nocapture golden::every

canaries: controls build         ## sixty canaries with real processes on each of two metric stores
	CANARIES=long $(CARGO) test -p tests --test it -- --test-threads=1 --nocapture canary::

canary-figures:                  ## 20,000 good canaries and eight effects, simulated: tables and plots of docs/canary.md
	$(CARGO) run -q --release -p judge --example canary_figures -- docs

smuggling:                       ## requests with two readings, against nginx: make smuggling CASES=1000000 SEED=2
	SMUGGLING_CASES=$(CASES) SMUGGLING_SEED=$(SEED) $(CARGO) test -p balancer --test it -- --nocapture smuggling::

strategy-records:                ## compares recorded deployments: make strategy-records FILE=records.jsonl.gz
	STRATEGY_RECORDS=$(abspath $(FILE)) $(CARGO) test -q -p orchestrator --test it -- --nocapture strategies::

simulate:                        ## all simulators; make simulate SEEDS=100000, from another seed on FROM=n
	SEEDS=$(SEEDS) $(CARGO) test --release -p orchestrator --test it -- --nocapture simulation
	SEEDS=$(SEEDS) $(CARGO) test --release -p rollout --test it -- --nocapture simulation

# What the compiler puts in for libFuzzer, as `cargo fuzz` asks for it.
COVERED := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing

fuzz:                            ## readers of expressions and pipelines, MINUTES each: make fuzz MINUTES=10
	cd fuzz && RUSTFLAGS="$(COVERED)" $(CARGO) build --release --target $(HOST) --target-dir $(TARGET)/fuzz
	mkdir -p fuzz/artifacts
	set -e; for target in expression pipeline; do \
		work=$$(mktemp -d); \
		$(TARGET)/fuzz/$(HOST)/release/$$target -max_total_time=$$(($(MINUTES) * 60)) -timeout=10 \
			-rss_limit_mb=2048 -max_len=8192 -artifact_prefix=fuzz/artifacts/ -print_final_stats=1 \
			$$work fuzz/corpus/$$target; \
		rm -rf $$work; \
	done

bench: build                     ## prints the table of docs/benchmarks.md
	$(CARGO) build --release -p store --example commit_rate
	$(CARGO) run --release -p tests --bin bench

versus:                          ## the balancer against nginx and HAProxy: make versus RUN_SECONDS=4 CASES=keep-alive
	$(BALANCER)
	$(CARGO) build --release -p balancer --example versus
	$(TARGET)/release/examples/versus

clean:
	$(CARGO) clean
