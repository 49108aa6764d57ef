#!/usr/bin/env bash
# The whole table of a machine with a GPU, in one call of less than ten minutes:
#     bench/gpu.sh [--device cuda|cpu] [--short] [--quick]
# --short: the cells of the targets alone, in about three minutes; --quick tries the script out.
# Writes into $OUT, or bench/out. PYTHON names the interpreter (python3). Packages that are not there
# (lightly, kornia) leave their rows out and say so; a part that fails or takes too long leaves the
# others. Exits 1 where a part failed.
set -u
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
out=${OUT:-bench/out}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

device=cuda quick= short=
while [ $# -gt 0 ]; do
    case $1 in
    --device) device=${2:?--device: cuda or cpu}; shift ;;
    --quick) quick=--quick ;;
    --short) short=1 ;;
    *) echo "usage: bench/gpu.sh [--device cuda|cpu] [--short] [--quick]" >&2; exit 2 ;;
    esac
    shift
done
mkdir -p "$out"

failed=0
part() {  # part SECONDS MODULE ARGUMENT…
    local limit=$(($1 * patience)); shift
    echo "== $*"
    timeout "$limit" "$python" -m "$@" || { echo "FAILED or out of time (status $?): $*"; failed=1; }
}

# The cells of the targets first, so that they are measured in any case.
cells="natural:28:imagenet:256 natural:28:small:256 natural:28:imagenet:1024 natural:28:small:1024
       natural:64:imagenet:256 natural:64:small:256 natural:64:imagenet:1024 natural:64:small:1024
       novel:28:imagenet:256 novel:28:small:256 novel:64:imagenet:256 novel:64:small:256"
repeats=5 limits="--minutes 5" patience=1
contenders="ceiling ours eager lightly"
if [ -n "$short" ]; then
    cells="natural:28:imagenet:1024 natural:28:small:1024 natural:28:imagenet:256 novel:28:imagenet:256"
    contenders="ceiling ours lightly" limits="--minutes 2 --epochs 2"
fi
if [ -n "$quick" ]; then
    cells="natural:28:imagenet:8" limits="--minutes 0 --steps 1" repeats=1
    patience=10  # nothing is measured; a busy machine may take its time
fi

# shellcheck disable=SC2086  # words are meant to be split
{
    part 330 bench.pretraining --device "$device" $quick $limits --cells $cells \
        --contenders $contenders --out "$out/gpu_pretraining.csv"
    if [ -z "$quick$short" ]; then  # compiling takes half a minute
        part 90 bench.pretraining --device "$device" --minutes 0 --epochs 2 --rounds 1 \
            --cells natural:28:imagenet:256 --contenders ceiling compiled \
            --out "$out/gpu_compiled.csv"
    fi
    part 120 bench.gpu --device "$device" $quick --rates "$out/gpu_pretraining.json" \
        --out "$out/gpu.csv"
    part 90 bench.augment --device "$device" --repeats $repeats \
        --sequence natural novel --out "$out/gpu_augment.csv"
}
"$python" -m bench.table "$out"
exit $failed
