# make demo          Istio's Mirroring task on this machine, from an empty clone (KEEP=1: leaves it up; then make demo-stop)
# make test          what CI does: lint, then every test twice: interpreted, with branch coverage, and compiled
# make compile       the data path in C, anew (as it is already where there is a compiler); make pure: as it is written
# make lint          ruff and mypy
# make test-others   the tests on each other Python from 3.12 to 3.14 that is found, but for the live ones
# make bench         meshcar beside Envoy in under three minutes: requests a second, CPU of a request, memory (bench/README.md)
# make bench-check   fails where a request's CPU beside Envoy's is over a quarter worse than bench/recorded.json says
# make image         meshcar's image, without Docker or a registry: as root on Debian; installs buildah, podman and mmdebstrap
# make test-image    the page's pods, injected, in podman on that image; checks them and prints their logs
# make clean-image   deletes both
# make test-kubernetes  what is injected, before a real API server (Kubernetes 1.20), which the first run builds: some 7 minutes

# the system's Python first: one from a user's home cannot be run by the sidecar's own user
USABLE := import ensurepip, sys; assert sys.version_info >= (3, 11)
PYTHON ?= $(firstword $(foreach each,/usr/bin/python3 python3,$(shell $(each) -c '$(USABLE); print("$(each)")' 2>/dev/null)) /usr/bin/python3)
OTHERS := $(foreach minor,12 13 14,$(shell .ci/find-python 3.$(minor)))
BIN := .venv/bin
# whether there is a compiled form, and it is that of the files as they are
FRESH = $(BIN)/python -c "import sys; from meshcar import compiled; sys.exit(not compiled.is_fresh())"
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: demo demo-stop test compile pure lint test-others bench bench-check bench-system image test-image clean-image test-kubernetes system clean

demo: .venv/demo.done
	@$(BIN)/meshcar demo $(if $(KEEP),--keep)

demo-stop: .venv/demo.done
	@$(BIN)/meshcar demo --stop

# both forms of the data path pass the same tests; only the written one shows what they cover
test: lint compile
	MESHCAR_PURE=1 $(BIN)/python -m pytest --cov
	! $(FRESH) || $(BIN)/python -m pytest

compile: .venv/dev.done
	@$(FRESH) || $(BIN)/python -m pip install -qq --no-deps --config-settings editable_mode=compat --editable .

pure:
	find meshcar -name '*.so' -delete; rm -f meshcar/compiled.stamp meshcar__mypyc.*.so

lint: .venv/dev.done
	$(BIN)/ruff check .
	$(BIN)/mypy

test-others: system
	@for python in $(OTHERS); do .ci/test-with $$python || exit 1; done

bench: .venv/dev.done bench-system
	@$(BIN)/python -m bench

bench-check: .venv/dev.done bench-system
	@$(BIN)/python -m bench --check

bench-system:
	@.ci/system $(PYTHON) wrk:wrk nginx:nginx-light

.venv/%.done: setup.py Makefile .ci/install | system
	@.ci/install .venv $* $(PYTHON)
	@touch $@

image:
	@packaging/image $(PYTHON)

test-image: .venv/demo.done image
	@packaging/pods $(BIN)/python

clean-image:
	@packaging/remove

test-kubernetes: .venv/demo.done
	@programs=$$(nice packaging/apiserver $(PYTHON)) && $(BIN)/python packaging/dry_run.py "$$programs"

system:
	@.ci/system $(PYTHON)

clean:
	rm -rf meshcar__mypyc.*.so meshcar/*/*.so meshcar/compiled.stamp .venv .venv-* build *.egg-info .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis twisted/plugins/dropin.cache
