# What there is to do. `make demo` and `make test` do all the set-up themselves, on a bare Debian 12 as root.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= /usr/bin/python3
BIN := .venv/bin

# To build and to show: the compiler for the probes, libbpf, and the real servers and clients of the demo.
PACKAGES := clang llvm libbpf-dev libelf1 make python3-venv iproute2 dnsmasq-base bind9-dnsutils openssl
# For containers and guests: QEMU, what unpacks kernels and loads their modules, and what makes real containers in them.
GUEST_PACKAGES := qemu-system-x86 debian-archive-keyring kmod cpio util-linux podman crun conmon busybox-static
# To test and measure: programs that see the same traffic, BCC as a loader and a peer of the bench, and the tools that
# fetch real StatsD and S3 servers. Those need not be Debian's (and Debian's npm cannot stand beside another nodejs):
# what is there already is used.
TEST_PACKAGES := $(PACKAGES) $(GUEST_PACKAGES) tshark suricata/bookworm-backports gnutls-bin libnss3-tools curl bpftool nftables \
	python3-bpfcc git strace systemd chromium-headless-shell zsh ksh mksh $(if $(shell command -v npm),,nodejs npm) \
	$(if $(shell command -v go),,golang-go)
# To build the container image without an engine or a registry.
IMAGE_PACKAGES := buildah debootstrap git
# To measure tracing: its peers. auditd is unpacked by bench/peers.py, never installed, which would start it here; these
# are libraries that it needs.
TRACING_PACKAGES := $(PACKAGES) $(GUEST_PACKAGES) bpftrace bpfcc-tools libwrap0 libgssapi-krb5-2 libcap-ng0
# To make one file: the keys of what it is linked with, and what reads and packs native files. To try it: what makes bare
# systems, and Debian's checker of packages.
DIST_PACKAGES := $(PACKAGES) debian-archive-keyring binutils dpkg-dev
DIST_TEST_PACKAGES := $(DIST_PACKAGES) debootstrap ubuntu-keyring lintian strace libcap2-bin systemd

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(BIN)/ingrain ## install what is needed and leave .venv/bin/ingrain

demo: $(BIN)/ingrain ## show it all: what real programs and containers do, beside what the agent saw
	.ci/packages $(GUEST_PACKAGES)
	PYTHONPATH=tests $(BIN)/python -m ingrain.demo

witnesses: $(BIN)/ingrain # the servers and programs that the tests compare with
	.ci/packages $(TEST_PACKAGES)
	tests/servers/install.sh
	tests/native/install.sh

test: lint witnesses ## run the tests
	PYTHONPATH=tests $(BIN)/python -m guest.fetch
	PYTHONPATH=tests $(BIN)/python -m guest.compiled
	INGRAIN_LINES=10000 $(BIN)/pytest --whole --durations=40 -m "not matrix and not faults and not image and not dist and not engines"

test-faults: witnesses ## run the tests that do harm for minutes: kill the agent a hundred times
	PYTHONPATH=tests $(BIN)/python -m guest.fetch
	$(BIN)/pytest --whole -m faults

test-image: $(BIN)/ingrain ## build docker/Dockerfile, on a Debian made for it, and run the agent in it: some minutes
	.ci/packages $(PACKAGES) $(IMAGE_PACKAGES)
	$(BIN)/pytest --whole -m image

test-engines: $(BIN)/ingrain ## have Spark and ClickHouse read an archive, and compare their rows with DuckDB's
	.ci/packages $(PACKAGES) default-jre-headless
	PYTHON=$(PYTHON) tests/engines/install.sh
	$(BIN)/pytest --whole -m engines

test-kernels: witnesses ## run the guests' tests on every kernel, from 5.10 to Debian's newest, and by BCC
	PYTHONPATH=tests $(BIN)/python -m guest.fetch all
	PYTHONPATH=tests $(BIN)/python -m guest.compiled
	$(BIN)/pytest tests/guest --kernels=all -m "not faults"
	$(BIN)/pytest tests/guest --loader=bcc -m "not faults"

RUNS ?= 10000000

fuzz: $(BIN)/ingrain ## fuzz all that others' bytes reach, RUNS times: ten million take half an hour of two cores
	PYTHONPATH=tests:tests/unit $(BIN)/python -m fuzz.run --runs $(RUNS) --jobs 2

lint: $(BIN)/ingrain ## format, rules and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(BIN)/ingrain ## measure, with peers in the same run
	.ci/packages $(TEST_PACKAGES)
	tests/servers/install.sh
	$(BIN)/python bench/run.py

bench-tracing: $(BIN)/ingrain ## measure what tracing costs, beside opensnoop, bpftrace and auditd: half an hour
	.ci/packages $(TRACING_PACKAGES)
	PYTHONPATH=tests $(BIN)/python -m guest.fetch
	PYTHONPATH=tests $(BIN)/python bench/tracing.py

wheel: $(BIN)/ingrain ## build dist/*.whl, which needs no compiler where it is installed
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

pictures: $(BIN)/ingrain ## take the pictures in docs/pictures anew, as tests do
	.ci/packages $(TEST_PACKAGES)
	INGRAIN_PICTURES=$(CURDIR)/docs/pictures $(BIN)/pytest -q tests/unit/test_report_browser.py tests/unit/test_top_app.py

dist: $(BIN)/ingrain ## build dist/ingrain, one file for every Linux with glibc 2.31, and a Debian package: minutes
	.ci/packages $(DIST_PACKAGES)
	$(BIN)/python -m ingrain.onefile

test-dist: dist ## run it on bare systems, from Debian 11 and Ubuntu 20.04 on
	.ci/packages $(DIST_TEST_PACKAGES)
	tests/servers/install.sh
	$(BIN)/pytest --whole -m dist

docs: $(BIN)/ingrain ## write the parts of README.md and docs/ that are made from the code
	PYTHONPATH=docs $(BIN)/python -m reference

dashboards: $(BIN)/ingrain ## write the dashboards, monitors and mapping below config/ anew
	PYTHONPATH=config $(BIN)/python -m dashboards

clean: ## remove everything that was built
	rm -rf .venv build dist *.egg-info ingrain/kernel/objects ingrain/kernel/sources ingrain/kernel/lib

$(BIN)/ingrain: pyproject.toml setup.py requirements.lock $(wildcard probes/* probes/*/*)
	.ci/packages $(PACKAGES)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: help setup demo witnesses test test-faults test-image test-dist test-engines test-kernels fuzz lint bench bench-tracing \
	wheel pictures dist docs dashboards clean
