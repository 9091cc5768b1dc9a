#!/usr/bin/env bash
# Speaks: ./run_tts.sh "Hello world". Every argument goes to `higgs say`; see ./run_tts.sh --help.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
bash "$here/scripts/setup.sh"
exec "$here/.venv/bin/higgs" say "$@"
