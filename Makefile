# The only two commands a newcomer needs: `make reproduce` (tables and figures) and `make test`.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= reproduced

.PHONY: reproduce test lint types bench clean

reproduce: .venv/.reproduce
	$(BIN)/pitskd reproduce --out $(OUT)

test: lint types
	$(BIN)/python -m pytest

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/basedpyright

bench: .venv/.bench
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist *.egg-info $(OUT)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "pip>=25.1"

# Each stamp is renewed when what it installs from has changed.
.venv/.reproduce: .venv/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e ".[plot]"
	touch $@

.venv/.dev: .venv/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e ".[notebooks]" --group dev
	touch $@

.venv/.bench: .venv/.dev
	$(BIN)/pip install --quiet -c constraints.txt --group peers
	touch $@
