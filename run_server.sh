#!/usr/bin/env bash
# Serves: ./run_server.sh, then http://127.0.0.1:8000. Every argument goes to `higgs serve`.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
bash "$here/scripts/setup.sh" serve
exec "$here/.venv/bin/higgs" serve "$@"
