# Everything a newcomer or CI runs. The first target that needs it makes .venv from nothing but Python and pip.
# Another Python: make clean install PYTHON=python3.13
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

DISTS := $(patsubst %/pyproject.toml,%,$(wildcard laila-*/pyproject.toml))
PY := .venv/bin/python
# Installs what constraints.txt pins, and nothing whose hash is not there.
PINNED := $(PY) tools/pinned.py install

.PHONY: torture help install demo test test-again test-slow test-long test-full test-matrix coverage bench dist release changelog fuzz test-field test-lowest \
  audit pins lint lint-style lint-types lint-arrows lint-names format facade clean moved docs

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/.installed ## make .venv: every package editable, with the development tools

# The stamp holds the folder it was made in: in a copied or moved tree, .venv would still be about the old one.
ifneq ($(shell cat .venv/.installed 2>/dev/null),$(CURDIR))
.venv/.installed: moved
endif
.venv/.installed: constraints.txt pyproject.toml tools/pinned.py $(DISTS:%=%/pyproject.toml)
	@python=$$(sh tools/find-python "$(PYTHON)") || exit 1; \
	[ "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" ] || rm -rf .venv; \
	echo "making .venv with $$python (about half a minute the first time)"; \
	"$$python" -m venv .venv
	@$(PINNED) $(PY) --group install
	@$(PINNED) $(PY) --workspace --group dev
	@printf '%s\n' "$(CURDIR)" > $@

demo: install ## train, store and recover a digits classifier; another store: make demo POOL=hdf5:///tmp/digits.h5
	@$(if $(filter s3://,$(POOL)),$(PY) tools/with_s3.py -- )$(PY) examples/digits/demo.py $(if $(POOL),--pool "$(POOL)")

# All pinned environments that are there, each layer with .venv below it.
audit: install ## licences, pins and requirements of what is installed; vulnerabilities: make audit OSV=all.zip (of osv.dev)
	@for site in $(wildcard .venv-f*/lib/python*/site-packages) ""; do \
	  echo "-- $${site:-.venv}"; \
	  $(PY) tools/audit.py $(if $(OSV),--osv "$(OSV)") $$site $(wildcard .venv/lib/python*/site-packages) || failed=1; \
	done; exit $${failed:-0}

pins: .venv/.installed ## write constraints.txt anew: hashes, and what is new in a pyproject.toml; newest: make pins UPGRADE=1
	@$(PY) tools/pinned.py renew $(if $(UPGRADE),--upgrade)

# Files of tests run side by side: most tests wait for processes, servers and disks. conftest.py says which come first.
SIDE_BY_SIDE := -n 4 --dist loadfile --no-loadscope-reorder

test: install ## run the tests, except those of test-slow, test-long and test-field; one file: make test ARGS=tests/test_imports.py
	@$(PY) -m pytest $(if $(ARGS),$(ARGS),$(SIDE_BY_SIDE))

test-again: install ## run each test that has just failed once more, alone; one that passes now is named: it is unsteady, and to be mended
	@$(PY) tools/run_again.py

test-slow: install ## run the tests of whole programs, installations and failing servers
	@$(PY) -m pytest -m "slow and not long and not field and not torch" $(if $(ARGS),$(ARGS),$(SIDE_BY_SIDE))

test-long: install ## run the tests that repeat others with more inputs
	@$(PY) -m pytest -m long $(if $(ARGS),$(ARGS),$(SIDE_BY_SIDE))

test-full: install ## run the tests of the S3 pool against Ceph RGW too; as root, Debian's packages are installed
	@LAILA_TEST_S3=rgw $(PY) -m pytest laila-pool-s3/tests $(ARGS)

test-matrix: install ## run the tests with each Python from 3.11 to 3.14 that is here; named ones: make test-matrix PYTHONS="3.12 3.13"
	@$(PY) tools/matrix.py --pythons "$(PYTHONS)" $(if $(ARGS),$(ARGS),$(SIDE_BY_SIDE))

# Some tests look at what is imported, or count what is done, and fail because they see the measuring too.
coverage: install ## branch coverage of the tests, the lines that no test runs, and a floor that fails
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest --timeout 900 $(if $(ARGS),$(ARGS),$(SIDE_BY_SIDE)) || [ $$? = 1 ]
	@$(PY) -m coverage combine -q
	@$(PY) -m coverage report

dist: install ## build the wheel of every distribution into dist/
	@rm -rf dist
	@for part in $(DISTS); do $(PY) -m build --no-isolation --wheel --outdir dist "$$part" >/dev/null || exit 1; done
	@ls dist

release: install ## build, check and test one distribution alone, into dist/: make release PKG=laila-pool-hdf5
	@$(PY) tools/release.py build $(PKG) $(ARGS)

changelog: install ## make the section of a release of the fragments in changelog.d: make changelog PKG=laila-pool-hdf5
	@$(PY) tools/release.py changelog $(PKG)

# What only the benchmarks need, in .venv too: it disturbs nothing there.
.venv/.bench: .venv/.installed
	@echo "adding what the benchmarks compare laila with"
	@$(PINNED) $(PY) --group bench
	@touch $@

bench: .venv/.bench ## laila beside its raw backends; one workload: make bench ONLY=P7; an older tree: make bench BASE=HEAD~20
	@$(PY) -m benchmarks $(if $(ONLY),--only "$(ONLY)") $(if $(BASE),--base "$(BASE)") $(ARGS)

# A layer over .venv, as below: the fuzzer has wheels for few versions of Python.
.venv-fuzz/.installed: .venv/.installed
	@echo "making .venv-fuzz"
	@$(PY) -m venv --without-pip .venv-fuzz
	@$(PINNED) .venv-fuzz/bin/python --group fuzz
	@site() { "$$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	  echo "import site; site.addsitedir('$$(site $(PY))')" > "$$(site .venv-fuzz/bin/python)/over-venv.pth"
	@touch $@

fuzz: .venv-fuzz/.installed ## install a fuzzer into .venv-fuzz and feed all that reads what others wrote; longer: make fuzz SECONDS=3600
	@mkdir -p .fuzz/peers .fuzz/stored
	@.venv-fuzz/bin/python laila-comm-tcpip/fuzz/decode.py .fuzz/peers -max_total_time=$(or $(SECONDS),60) -max_len=8192 -len_control=0 -timeout=10 -rss_limit_mb=1024
	@.venv-fuzz/bin/python laila-comm-tcpip/fuzz/stored.py .fuzz/stored -max_total_time=$(or $(SECONDS),60) -max_len=8192 -len_control=0 -timeout=10 -rss_limit_mb=2048

torture: install ## kill, race, damage and soak every durable pool: make torture ONLY=crash POOLS=hdf5 ROUNDS=2000 SECONDS=3600 SEED=7
	@PYTHONPATH=tests $(PY) -m torture $(if $(ONLY),--only "$(ONLY)") $(if $(POOLS),--pools "$(POOLS)") \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

# A layer over .venv: the libraries of the group `field` are here, everything else is found there.
.venv-field/.installed: .venv/.installed
	@echo "making .venv-field (some gigabytes: torch is one of its libraries)"
	@$(PY) -m venv --without-pip .venv-field
	@$(PINNED) .venv-field/bin/python --group field
	@site() { "$$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	  echo "import site; site.addsitedir('$$(site $(PY))')" > "$$(site .venv-field/bin/python)/over-venv.pth"
	@sed "1s|.*|#!$(CURDIR)/.venv-field/bin/python|" .venv/bin/laila > .venv-field/bin/laila; chmod +x .venv-field/bin/laila
	@touch $@

test-field: .venv-field/.installed ## run the tests that need torch and many other libraries; CASES=folder: its scripts too
	@.venv-field/bin/python -m pytest -m "torch or field" $(ARGS)
	@$(if $(CASES),.venv-field/bin/python tools/run_scripts.py "$(CASES)")

.venv-docs/.installed: .venv/.installed
	@echo "making .venv-docs"
	@$(PY) -m venv --without-pip .venv-docs
	@$(PINNED) .venv-docs/bin/python --group docs
	@touch $@

docs: .venv-docs/.installed ## build the documentation as a site into build/docs, without warnings; it is read without a server
	@.venv-docs/bin/python tools/build_site.py build/docs

# No layer: nothing newer may be found. These versions are not pinned, so their hashes are not checked.
.venv-lowest/.installed: .venv/.installed
	@echo "making .venv-lowest"
	@rm -rf .venv-lowest; $(PY) -m venv --without-pip .venv-lowest
	@$(PY) -m uv pip install -q --python .venv-lowest/bin/python --resolution lowest-direct --only-binary :all: \
	  --group lowest -e "./laila-core[all,testing,arrow,pandas,ml-dtypes]" $(patsubst %,-e ./%,$(filter-out laila-core,$(DISTS)))
	@touch $@

test-lowest: .venv-lowest/.installed ## run the distributions' tests with the lowest versions that they allow, but for torch
	@.venv-lowest/bin/python -m pytest $(if $(ARGS),$(ARGS),$(SIDE_BY_SIDE) $(DISTS:%=%/tests))

lint: lint-style lint-types lint-arrows lint-names ## ruff, formatting, mypy --strict, the arrows between packages, names that must not be in a file

# .pre-commit-config.yaml has a hook for each of these parts.
lint-style: install
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

# mypy looks at one folder of tests at a time: two may have files of one name.
lint-types: install
	@$(PY) -m mypy $(DISTS:%=%/src) tests tools
	@MYPYPATH=examples/digits $(PY) -m mypy examples/digits
	@$(PY) -m mypy examples/peers
	@$(PY) -m mypy -p benchmarks
	@for part in conftest.py $(DISTS:%=%/tests); do $(PY) -m mypy "$$part" || exit 1; done

lint-arrows: install
	@.venv/bin/lint-imports --no-logo

lint-names: install
	@$(PY) tools/check_names.py

format: install ## let ruff format, and sort imports
	@$(PY) -m ruff check --quiet --select I --fix .
	@$(PY) -m ruff format .

facade: install ## write the stub of laila/__init__.py for type checkers, after a change of its names
	@$(PY) tools/facade.py

clean: ## remove what make and the tools have put into the tree
	@rm -rf .venv .venv-* .fuzz .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache examples/digits/out
	@rm -rf build dist $(DISTS:%=%/build) $(DISTS:%=%/dist)
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
