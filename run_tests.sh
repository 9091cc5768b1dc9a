#!/usr/bin/env bash
# Runs the whole test suite, or what the arguments name. Every argument goes to pytest.
set -eu
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
bash scripts/setup.sh dev
exec .venv/bin/python -m pytest "$@"
