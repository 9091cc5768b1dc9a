# `make` says whether a change is ready. Each target is one line that can be typed by hand.
.PHONY: all setup check fix test soak gpu bench bench-gpu docs clean

all: check test

setup: ; scripts/setup.sh dev

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

fix: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

test: ; ./run_tests.sh
soak: ; ./run_tests.sh --slow -m slow
gpu: ; ./run_tests.sh -m gpu

bench: setup
	benchmarks/all.sh .venv/bin/python

bench-gpu: setup
	benchmarks/gpu_all.sh .venv/bin/python

docs: setup
	.venv/bin/python scripts/cli_page.py

clean: ; rm -rf .venv .venv.lock .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
