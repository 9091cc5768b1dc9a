#!/usr/bin/env bash
# Serves: ./run_server.sh, then http://localhost:8501 is the page and http://localhost:8000 the API.
# Every argument goes to `higgs serve`.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
bash "$here/scripts/setup.sh" serve
exec "$here/.venv/bin/higgs" serve "$@"
