#!/usr/bin/env bash
# Runs every benchmark of a graphics card with the Python that is named, and keeps what each one writes.
set -eu
python=${1:-python}
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
results=benchmarks/results
decode() { "$python" benchmarks/gpu_decode.py --precision "$1" --json "$results/gpu_decode_$1.json"; }
for precision in bf16 int8 int4; do decode "$precision"; done
for question in throughput first_audio; do
    "$python" "benchmarks/gpu_$question.py" --precision bf16 --json "$results/gpu_${question}_bf16.json"
done
"$python" benchmarks/gpu_train.py --json "$results/gpu_train.json"
# Last: it stops where the card has no fp8.
decode fp8
