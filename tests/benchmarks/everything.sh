#!/bin/sh
# Measures on this machine all that tables say of speed, and draws them; options go to every `bench speed`.
#   sh tests/benchmarks/everything.sh --dataset ebhi-seg --crop 224
# METHODS=LIST leaves out the other methods, COUNTS=LIST says how many runs share the device, RESULTS=DIR where rows go.
# STAGES=LIST of methods, network, packing and ratios is for where a command may not take long: rows of several add up.
set -e
cd "$(dirname "$0")/../.."
results=${RESULTS:-results}
bench() { python3 -m benchmark.cli "$@"; } # also where the package is not installed
all=methods,network,packing,ratios
stage() { case ",${STAGES:-$all}," in *",$1,"*) ;; *) false ;; esac; }
for name in $(echo "${STAGES:-$all}" | tr , ' '); do
    case ",$all," in *",$name,"*) ;; *) echo "There is no stage '$name'; choose of $all." >&2; exit 2 ;; esac
done

# every method, and what a whole table would take
if stage methods; then
    bench speed --recipe full ${METHODS:+--methods "$METHODS"} --together "${COUNTS:-1,4}" --repeats 20 --seconds 2 \
        --results "$results" "$@"
fi
# the paper's network beside the largest matrix product, eager and compiled
if stage network; then
    bench speed --recipe digestpath --methods supervised,cdma --batch 8,32 --compiled --seconds 5 --results "$results" "$@"
fi
# several small runs on one device
if stage packing; then
    bench speed --methods supervised,cdma --together "${COUNTS:-1,2,4,8}" --seconds 5 --results "$results" "$@"
fi
# the ratios to what the field does
if stage ratios; then
    python3 -m pytest -n0 -s --benchmark-only --keep "$results" tests/benchmarks/test_ratios.py \
        || echo "Not every ratio is reached; see above."
fi
bench report --results "$results"
