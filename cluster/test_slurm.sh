#!/usr/bin/env bash
# A search whose workers are an array of two Slurm jobs, one of which is cancelled in the middle: the artifact has the bytes of a
# search without workers.
#
#     cluster/test_slurm.sh RELEQC [ARGUMENT ..]
#
# ARGUMENTs are the network, its data and the options of the search. Needs a running Slurm (`sinfo`).
set -euo pipefail
releqc=$(realpath "$1")
shift
here=$(cd "$(dirname "$0")" && pwd)
if [ $# = 0 ]; then set -- "$here/../models/lenet.onnx" --episodes 8; fi
work=$(mktemp -d)
trap 'scancel --name releqc-worker 2>/dev/null || true; rm -rf "$work"' EXIT

search=("$@" --parallel 4 --threads 1 --quiet)
code=0
"$releqc" "${search[@]}" -o "$work/alone.rq" --store "$work/alone" || code=$?

cd "$work"
mkdir store
jobs=$(RELEQC=$releqc STORE=$work/store sbatch --parsable --array=1-2 "$here/slurm.sbatch")
"$releqc" "${search[@]}" -o "$work/slurm.rq" --store "$work/store" --json >"$work/said.json" &
search_pid=$!
for _ in $(seq 600); do
    [ "$(find store/answers -type f 2>/dev/null | wc -l)" -lt 3 ] || break
    sleep 0.1
done
scancel --signal=KILL "${jobs}_1"
other=0
wait "$search_pid" || other=$?
[ "$other" = "$code" ] || { echo "exit code $other, $code without workers" >&2; exit 1; }
cmp "$work/alone.rq" "$work/slurm.rq"
echo "equal bytes after a killed job; $(tail -n 1 said.json | grep -o '"helped":[0-9]*') answers by workers"
