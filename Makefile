# The README's two commands. Both work on a bare machine with Python >= 3.11; uv is installed here if missing.
UV ?= $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
PYTHON ?= python3
LIGHT := .venv-light
FULL := .venv
INSTALL = $(UV) pip install --quiet --compile-bytecode --constraint constraints.txt  # a second less for every first command

.PHONY: demo test check fuzz soak audit-deps docs wheel licences clean

demo: $(LIGHT)/.installed
	$(LIGHT)/bin/mien predict sample --out mien-out

test: $(FULL)/.installed $(FULL)/cache check
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m pytest -n 2 --dist worksteal  # threads only wait for each other here

$(FULL)/cache: $(FULL)/.installed  # the runtime of the web page, for its tests in a browser
	MIEN_CACHE=$(FULL)/cache $(FULL)/bin/mien fetch web-runtime

check: $(FULL)/.installed
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/mypy

docs: $(FULL)/.installed-docs  # a broken link or anchor is an error; the site is dist/site
	NO_MKDOCS_2_WARNING=1 $(FULL)/bin/mkdocs build

wheel: | $(UV)  # wheel and sdist in dist/, tried in an environment that has nothing else
	UV=$(UV) $(PYTHON) .ci/wheel.py

licences: $(FULL)/.installed  # of every library that a table of pyproject.toml brings
	$(FULL)/bin/python .ci/licences.py

MINUTES ?= 5
fuzz: $(FULL)/.installed  # damaged files for every reader; finds are kept in fuzz-finds/
	OMP_NUM_THREADS=1 nice -n 10 $(FULL)/bin/python benchmarks/fuzz.py --minutes $(MINUTES)

soak: $(FULL)/.installed  # 100,000 pictures, 10,000 requests, 1,000 loads: memory, files and threads must not grow
	OMP_NUM_THREADS=1 $(FULL)/bin/python benchmarks/soak.py

audit-deps: | $(UV)  # known weaknesses of the pinned versions; needs the network, and fails where it cannot ask
	$(UV) tool run --from pip-audit==2.10.1 pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

$(LIGHT)/.installed: pyproject.toml constraints.txt | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $(LIGHT)
	$(INSTALL) --python $(LIGHT)/bin/python --editable .
	@touch $@

$(FULL)/.installed: pyproject.toml constraints.txt | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $(FULL)
	$(INSTALL) --python $(FULL)/bin/python --editable '.[all]' --group dev --group bench
	@touch $@

$(FULL)/.installed-docs: $(FULL)/.installed
	$(INSTALL) --python $(FULL)/bin/python --group docs
	@touch $@

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv

clean:
	rm -rf .uv $(LIGHT) $(FULL) mien-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
