#!/usr/bin/env bash
# Runs every benchmark of the processor with the Python that is named, and keeps what each one writes.
set -eu
python=${1:-python}
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
results=benchmarks/results
"$python" benchmarks/weights.py --to int8 int4
for precision in bf16 int8 int4; do
    "$python" benchmarks/cpu_decode.py --precision "$precision" --json "$results/cpu_decode_$precision.json"
done
for precision in int8 int4; do
    "$python" benchmarks/cpu_batch.py --precision "$precision" --json "$results/cpu_batch_$precision.json"
done
"$python" benchmarks/cpu_load.py --json "$results/cpu_load.json"
"$python" benchmarks/pico_cold.py --json "$results/pico_cold.json"
"$python" benchmarks/prefix.py --precision int4 --json "$results/prefix.json"
"$python" benchmarks/host_cost.py --json "$results/host_cost.json"
"$python" benchmarks/server_overhead.py --json "$results/server_overhead.json"
"$python" benchmarks/train_throughput.py --json "$results/train_throughput.json"
# Last: it stops where torchaudio, which its rival needs, is not installed.
"$python" benchmarks/cpu_codec.py --json "$results/cpu_codec.json"
