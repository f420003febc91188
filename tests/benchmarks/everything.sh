#!/bin/sh
# Measures on this machine all that tables say of speed, and draws them; options go to every `bench speed`.
#   sh tests/benchmarks/everything.sh --dataset ebhi-seg --crop 224
# METHODS=LIST leaves out the other methods, COUNTS=LIST says how many runs share the device, RESULTS=DIR where rows go.
set -e
cd "$(dirname "$0")/../.."
results=${RESULTS:-results}
bench() { python3 -m benchmark.cli "$@"; } # also where the package is not installed

# every method, and what a whole table would take
bench speed --recipe full ${METHODS:+--methods "$METHODS"} --together "${COUNTS:-1,4}" --repeats 20 --seconds 2 \
    --results "$results" "$@"
# the paper's network beside the largest matrix product, eager and compiled
bench speed --recipe digestpath --methods supervised,cdma --batch 8,32 --compiled --seconds 5 --results "$results" "$@"
# several small runs on one device
bench speed --methods supervised,cdma --together "${COUNTS:-1,2,4,8}" --seconds 5 --results "$results" "$@"
# the ratios to what the field does
python3 -m pytest -n0 -s --benchmark-only --keep "$results" tests/benchmarks/test_ratios.py \
    || echo "Not every ratio is reached; see above."
bench report --results "$results"
