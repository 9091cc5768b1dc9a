#!/usr/bin/env bash
# Merges an adapter into its model: ./merge_model.sh --base MODEL --adapter DIR --out FOLDER.
# Every argument goes to `higgs merge`, which knows the names of older scripts too.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
bash "$here/scripts/setup.sh"
exec "$here/.venv/bin/higgs" merge "$@"
