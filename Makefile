# Both work on a clean machine with Rust, Python 3.10 or later and make; nothing needs root.
#
#   make rehearse   a whole release on this machine
#                   RUNBOOK=rally    FAIL=migration|deploy|sanity MIGRATIONS=DIR TASK_DEFINITION=FILE VARIANT=maintenance|merge
#                                    WORKFLOW=FILE of another repository, which docs/guide.md writes
#                   RUNBOOK=boss     FAIL=table|indexes INPUTS=DIR VARIANT=review
#                   RUNBOOK=jenkins  FAIL=parameters|restore INPUTS=DIR
#                   APPROVE=ENVIRONMENT opens this gate alone; without it every gate opens
#   make test       what the tests need, and the tests
#   make test-all   the tests with the whole crash matrix and data above 1 GiB, a hundred random kills, and both images built without
#                   Docker and run as GitHub's runner does (this part needs root, buildah, podman, runc, debootstrap and rustup, and says so where they are absent)
#   make kills      backup-db and run-migration, each killed at a hundred random instants
#                   KILLS=100 SEED=NUMBER (to repeat what was printed)

CARGO ?= cargo
CUTOVER_COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)

.PHONY: actions bench build generate image kills lint rehearse reliability rehearse-reset setup test test-all transcripts

setup:
	@crates/testkit/setup.sh

build:
	$(CARGO) build --quiet

# The action files and the pages in docs/steps are what the steps' arguments and help say; a test compares. IMAGE and CLIENTS_IMAGE are a release's, by digest; CUTOVER is an
# executable that is there already.
images = $(if $(IMAGE)$(CLIENTS_IMAGE),--images "$(IMAGE)" "$(CLIENTS_IMAGE)")
actions: generate
generate: $(if $(CUTOVER),,build)
	@bin=$(if $(CUTOVER),$(CUTOVER),$$($(CARGO) build --quiet --message-format=json --bin cutover | sed -n 's/.*"executable":"\([^"]*cutover\)".*/\1/p' | tail -n 1)); \
	new=$$(mktemp -d) && trap 'rm -rf "$$new"' EXIT && mkdir "$$new/actions" && \
	for step in $$($$bin --list); do \
	    mkdir "$$new/actions/$$step" && $$bin --action $$step $(images) > "$$new/actions/$$step/action.yml" || exit 1; done && \
	$$bin --action $(images) > "$$new/action.yml" && \
	mkdir "$$new/iam" && for step in $$($$bin --list); do $$bin --policy $$step > "$$new/iam/$$step.json" || exit 1; \
	    grep -q Action "$$new/iam/$$step.json" || rm "$$new/iam/$$step.json"; done && \
	mkdir "$$new/steps" && $$bin --page > "$$new/steps/README.md" && \
	for step in $$($$bin --list); do $$bin --page $$step --transcript docs/transcripts/$$step.txt > "$$new/steps/$$step.md" || exit 1; done && \
	rm -rf actions docs/steps docs/iam && cp -r "$$new/iam" docs/iam && cp -r "$$new/actions" actions && cp -r "$$new/steps" docs/steps && cp "$$new/action.yml" action.yml

# What the commands in docs/transcripts print now; afterwards `make generate`, for the pages that they stand in.
transcripts: setup
	CUTOVER_TRANSCRIPTS=write $(CARGO) test --quiet --test e2e transcripts

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --keep-going --quiet -- -D warnings

# The end-to-end tests wait for processes and servers more than they compute: on two cores, four at once take two thirds of the time.
test: export RUST_TEST_THREADS ?= 4
test: setup
	@rehearsal/setup-expressions.sh || echo "the comparison with GitHub's own expressions will be skipped" >&2
	@echo "test: $(if $(CUTOVER_MATRIX),the whole crash matrix,a sample of the crash matrix; test-all has the whole), $(if $(CUTOVER_LARGE),with,without) data above 1 GiB, without the random kills and the images"
	@records=$$(mktemp -d) && trap 'rm -rf "$$records"' EXIT && CUTOVER_RECORD_DIR="$$records" $(CARGO) test --quiet

test-all: export CUTOVER_MATRIX = whole
test-all: export CUTOVER_LARGE = 1
test-all: test kills image
	@echo "test-all: the tests with the whole crash matrix and data above 1 GiB, $(KILLS) random kills, and what is said above of the images"

# What each step makes of trouble, into the table of docs/reliability.md.
reliability: setup
	$(CARGO) build --quiet
	CUTOVER_RELIABILITY=write $(CARGO) test --quiet --test e2e -- proof::faults

# Every bench against its peers, in release; BENCH names some of them, and TARGET=x86_64-unknown-linux-musl measures what is released.
bench: setup
	$(CARGO) build --quiet --release $(if $(TARGET),--target $(TARGET)) --bin cutover --bin s3-double
	benches/all.py $(if $(TARGET),--cutover "$${CARGO_TARGET_DIR:-target}/$(TARGET)/release/cutover") $(BENCH)

image:
	tests/image/run.sh

# State lies in .rehearsal/, one world for each kind of failure.
RUNBOOK ?= $(if $(filter review,$(VARIANT)),boss,rally)
WORLD = .rehearsal/$(RUNBOOK)$(if $(VARIANT),-$(VARIANT))$(if $(FAIL),-$(FAIL))$(if $(MIGRATIONS),-own-migrations)$(if $(TASK_DEFINITION),-own-task-definition)$(if $(WORKFLOW),-own-workflow)

rehearse: setup
	@echo "building (the first time, this takes some minutes)" >&2
	@CUTOVER_COMMIT=$(CUTOVER_COMMIT) $(CARGO) build --quiet --bin cutover --bin rehearsal
	@$(CARGO) run --quiet --bin rehearsal -- rehearse --state $(WORLD) --runbook $(RUNBOOK) \
	    $(if $(VARIANT),--variant $(VARIANT)) $(if $(FAIL),--fail $(FAIL)) $(if $(MIGRATIONS),--migrations $(MIGRATIONS)) \
	    $(if $(TASK_DEFINITION),--task-definition $(TASK_DEFINITION)) $(if $(INPUTS),--inputs $(INPUTS)) $(if $(WORKFLOW),--workflow $(abspath $(WORKFLOW))) \
	    $(if $(APPROVE),--approve $(APPROVE))

rehearse-reset:
	@for world in .rehearsal/*/; do [ -d "$$world" ] || continue; \
	    $(CARGO) run --quiet --bin rehearsal -- reset --state "$$world" || exit 1; done

KILLS ?= 100
kills: setup
	CUTOVER_KILLS=$(KILLS) $(if $(SEED),CUTOVER_SEED=$(SEED)) $(CARGO) test --quiet --test e2e kill_random -- --nocapture --test-threads 1
