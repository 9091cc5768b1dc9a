#!/usr/bin/env bash
# Teaches the model Vietnamese: ./train_vietnamese.sh DATA [--out FOLDER] [flags of `higgs train`]
#
# DATA is what `higgs prepare` made, or a corpus, which is prepared first, into FOLDER/data.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
higgs=$here/.venv/bin/higgs

refuse() {
  printf 'Error: %s\n' "$*" >&2
  exit 2
}
take() { # the value of --name VALUE or --name=VALUE, and how many arguments that are
  case $1 in
    *=*) given=${1#*=} used=1 ;;
    *)
      [ "$#" -gt 1 ] || refuse "$1 needs a value."
      given=$2 used=2
      ;;
  esac
}

data='' out=./output/vietnamese_higgs_model
model=() rest=()
case ${1--} in
  -*) ;;
  *)
    data=$1
    shift
    ;;
esac
while [ "$#" -gt 0 ]; do
  case $1 in
    -h | --help)
      bash "$here/scripts/setup.sh" train
      printf 'Usage: ./train_vietnamese.sh DATA [--out FOLDER] [flags of higgs train]\n\n'
      exec "$higgs" train --help
      ;;
    --data | --data=* | --train[-_]data[-_]dir | --train[-_]data[-_]dir=*)
      take "$@"
      data=$given
      ;;
    --out | --out=* | --output[-_]dir | --output[-_]dir=*)
      take "$@"
      out=$given
      ;;
    --model | --model=* | --model[-_]path | --model[-_]path=*)
      take "$@"
      model=(--model "$given")
      ;;
    *)
      used=1
      rest+=("$1")
      ;;
  esac
  shift "$used"
done
[ -n "$data" ] || refuse "Name the data: ./train_vietnamese.sh DATA [--out FOLDER]."
[ -e "$data" ] || refuse "There is no folder or file '$data'; check the path."
case $data in -*) data=./$data ;; esac

bash "$here/scripts/setup.sh" train
if [ ! -e "$data/dataset.json" ]; then
  if [ -e "$out/data/dataset.json" ]; then
    printf '%s is there already; remove it to prepare the data again.\n' "$out/data" >&2
  else
    "$higgs" prepare "$data" --out "$out/data" --language vi ${model[@]+"${model[@]}"}
  fi
  data=$out/data
fi
exec "$higgs" train --preset language --data "$data" --out "$out" \
  ${model[@]+"${model[@]}"} ${rest[@]+"${rest[@]}"}
