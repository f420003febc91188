#!/bin/sh
# Measures on this machine everything that tables say about speed, and writes the tables; options go to `bench speed`.
#   sh tests/benchmarks/everything.sh --dataset ebhi-seg --crop 224
# It takes at most LIMIT_S seconds (540) and names at its end what it left out. STAGES=LIST chooses of methods, network,
# packing and ratios; METHODS=LIST and COUNTS=LIST (runs at the same time) shorten them. RESULTS=DIR keeps the records;
# records of several commands add up.
set -e
cd "$(dirname "$0")/../.."
begin=$(date +%s)
limit=${LIMIT_S:-540}
results=${RESULTS:-results}
all=methods,network,packing,ratios
stages=${STAGES:-$all}
left_out=
bench() { python3 -m benchmark.cli "$@"; } # also where the package is not installed
remaining() { echo $((limit - $(date +%s) + begin)); }
# Whether a stage is wanted and there is time for it: NAME SECONDS. A stage that has no time is noted.
stage() {
    case ",$stages," in *",$1,"*) ;; *) return 1 ;; esac
    [ "$(remaining)" -ge "$2" ] && return
    left_out="$left_out $1"
    return 1
}
for name in $(echo "$stages" | tr , ' '); do
    case ",$all," in *",$name,"*) ;; *) echo "There is no stage '$name'; choose of $all." >&2; exit 2 ;; esac
done

# every method, eager and captured
if stage methods 30; then
    bench speed --recipe full ${METHODS:+--methods "$METHODS"} --repeats 20 --seconds 1 --within $(($(remaining) * 5 / 9)) \
        --results "$results" "$@"
fi
# the network of the paper, at two batch sizes
if stage network 60; then
    bench speed --recipe digestpath --methods supervised,cdma --batch 8,32 --repeats 20 --seconds 1 --within 60 \
        --results "$results" "$@"
fi
# several runs on one device
if stage packing 90; then
    bench speed --methods supervised,cdma --together "${COUNTS:-1,4}" --repeats 20 --seconds 2 --within 60 \
        --results "$results" "$@"
fi
# ratios to common practice
if stage ratios 30; then
    timeout "$(remaining)" python3 -m pytest -n0 -s --benchmark-only --keep "$results" tests/benchmarks/test_ratios.py \
        || echo "Not every ratio was reached or measured; see above."
fi
bench report --results "$results"
echo "Done in $(($(date +%s) - begin)) s.${left_out:+ Left out, because $limit s were over:$left_out.}"
