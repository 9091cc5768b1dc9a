#!/usr/bin/env bash
# Speaks with a trained model: ./generate.sh --model_path MODEL --text "Xin chào" --output_path a.wav
# MODEL may be the folder of a training, too. Every other argument goes to `higgs say`.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)

take() { # the value of --name VALUE or --name=VALUE, and how many arguments that are
  case $1 in
    *=*) given=${1#*=} used=1 ;;
    *)
      [ "$#" -gt 1 ] || { printf 'Error: %s needs a value.\n' "$1" >&2; exit 2; }
      given=$2 used=2
      ;;
  esac
}
has_adapter() { [ -e "$1/adapter_config.json" ] || [ -e "$1/adapter/adapter_config.json" ]; }

rest=() text=()
while [ "$#" -gt 0 ]; do
  case $1 in
    --text | --text=*)
      take "$@"
      text=(-- "$given")
      ;;
    --model | --model=* | --model[-_]path | --model[-_]path=*)
      take "$@"
      flag=--model
      if [ ! -e "$given/config.json" ] && has_adapter "$given"; then
        flag=--adapter # on the model that it was trained from
      fi
      rest+=("$flag" "$given")
      ;;
    *)
      used=1
      rest+=("$1")
      ;;
  esac
  shift "$used"
done
bash "$here/scripts/setup.sh"
exec "$here/.venv/bin/higgs" say ${rest[@]+"${rest[@]}"} ${text[@]+"${text[@]}"}
