# Needs python3 (3.11 or newer, with venv) and make; everything else goes into .venv.
PYTHON ?= python3
SEED ?= 1
BIN := .venv/bin
INSTALLED := .venv/installed
export UV_HTTP_TIMEOUT ?= 300

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint lock nano evaluate

help:                ## show these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## install the locked packages and this project into .venv, fetch the pretrained parts

# uv comes from the lock file as well. It checks every hash, so a wheel folder or an index of the machine cannot slip
# another build of torch in. Bytecode is compiled now: where processes may not write it, each would compile torch and
# transformers for itself, ten seconds of every start. Pretrained parts are kept outside the repository: a second set-up
# finds them there. The stamp is written last: an interrupted set-up is taken up again.
$(INSTALLED): requirements.lock pyproject.toml $(wildcard nextgpt_lite/parts/parts.yaml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "nextgpt_lite needs Python 3.11 or newer, and '$(PYTHON)' is not: try make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv || { \
		echo "'$(PYTHON) -m venv' failed: install your system's venv package (on Debian and Ubuntu: python3-venv)" >&2; exit 1; }
	@awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements.lock > .venv/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --quiet --editable .
	@$(BIN)/nextgpt-lite models --fetch || echo "set-up goes on without these parts: until they are there, nano answers" >&2
	@touch $@

demo: setup          ## chat with the embedded model on http://127.0.0.1:7860
	$(BIN)/nextgpt-lite demo

test: setup          ## the quick tests, one process a core
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile

test-slow: setup     ## the tests that train, use the weights at length or open a browser
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		command -v apt-get >/dev/null || { echo "a test needs chromium: install it" >&2; exit 1; }; \
		[ "$$(id -u)" = 0 ] && sudo="" || sudo="sudo -n"; \
		$$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk
	$(BIN)/python -m pytest -m slow

lint: setup          ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

lock: setup          ## bring requirements.lock up to date with pyproject.toml (UPGRADE=--upgrade for newer versions)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra dev --python-version 3.11 \
		--custom-compile-command "make lock" $(UPGRADE) pyproject.toml --output-file requirements.lock

nano: setup          ## train the embedded model again from nothing
	$(BIN)/python -m train.nano

evaluate: setup      ## print the any-to-any table (SEED=N for other samples)
	$(BIN)/nextgpt-lite evaluate any_to_any --count 320 --seed $(SEED)
