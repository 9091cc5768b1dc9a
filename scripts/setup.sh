#!/usr/bin/env bash
# Makes .venv on first use, and again when what it is made from has changed. Quick when all is well.
#
#   scripts/setup.sh [EXTRA]      EXTRA: one of pyproject.toml's, such as dev
#   PYTHON=python3.12 scripts/setup.sh
#
# Speaks on stderr only, so that a caller's stdout carries what the caller prints and nothing else.
set -euo pipefail

extra=${1:-run}
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
want=$(cat pyproject.toml constraints.txt | cksum)

say() { printf '%s\n' "$*" >&2; }
refuse() { say "$*"; exit 2; }
shown() { say "+ $*"; "$@" >&2; }

# .venv/.ready-EXTRA is written last and says what was installed; .venv/.unfinished is there meanwhile.
# A .venv that was moved with its folder is no longer whole: its commands name the old place.
same() { [ -e "$1" ] && [ "$(<"$1")" = "$2" ]; }
whole() {
  [ -x .venv/bin/python ] && [ ! -e .venv/.unfinished ] || return 1
  [ ! -e .venv/.made-in ] || same .venv/.made-in "$root"
}
ready() {
  whole || return 1
  same ".venv/.ready-$extra" "$want" && return 0
  [ "$extra" = run ] || return 1
  for stamp in .venv/.ready-*; do # every extra holds what a plain run needs
    if same "$stamp" "$want"; then return 0; fi
  done
  return 1
}

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }
find_python() {
  candidates=(python3 python3.13 python3.12 python3.11 python3.10)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    if fits "$candidate"; then printf '%s' "$candidate"; return; fi
  done
  found=$("${candidates[0]}" --version 2>/dev/null) || found="no ${candidates[0]}"
  refuse "Faster Higgs needs Python 3.10 or newer, and here is $found;" \
    "install one, or name one: PYTHON=/path/to/python3"
}

make_venv() {
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    refuse "$python has no venv module; on Debian or Ubuntu install it with: apt install python3-venv"
  say "Making .venv in $root. The first time takes some minutes."
  rm -rf .venv
  mkdir .venv
  : >.venv/.unfinished
  shown "$python" -m venv .venv
  printf '%s' "$root" >.venv/.made-in
}

install() {
  packages=.
  [ "$extra" = run ] || packages=".[$extra]"
  : >.venv/.unfinished
  if shown .venv/bin/python -m pip install --disable-pip-version-check \
    -c constraints.txt -e "$packages"; then
    printf '%s' "$want" >".venv/.ready-$extra"
    rm .venv/.unfinished
  else
    rm .venv/.unfinished # pip has put back what it could not finish
    say "pip could not install everything: its message is above. The next run tries again."
    exit 1
  fi
}

ready && exit 0
trap 'exit 130' INT # pip answers Ctrl-C with an ordinary failure, but leaves things half done
# One at a time: a second caller waits and then finds the work done.
if command -v flock >/dev/null 2>&1; then
  exec 9>.venv.lock
  flock 9
  ready && exit 0
fi
if whole; then say "Bringing .venv up to date."; else make_venv; fi
install
say "Ready."
