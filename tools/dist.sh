#!/usr/bin/env bash
# The launcher of dist_train.sh and dist_test.sh: dist.sh SCRIPT POSITIONALS ARGUMENTS..., where GPUS may follow the positionals.
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 2 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    sed -n '2s/^# //p' "$0"
    case "${1:-}" in --help | -h) exit 0 ;; *) exit 2 ;; esac
fi
script=$1 positionals=$2
shift 2
if [ $# -lt "$positionals" ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    sed -n '2,/^exec/{/^#/s/^# \{0,1\}//p}' "$tools/dist_${script%.py}.sh"
    case "${1:-}" in --help | -h) exit 0 ;; *) exit 2 ;; esac
fi
arguments=("${@:1:$positionals}")
shift "$positionals"
visible=$(python -c 'import torch; print(torch.cuda.device_count())')
processes=$((visible > 0 ? visible : 1))
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
    processes=$1
    shift
fi
if [ "$processes" -lt 1 ] || { [ "$visible" -gt 0 ] && [ "$processes" -gt "$visible" ]; }; then
    echo "dist: $processes processes, but $visible GPUs are visible; give 1 to $((visible > 0 ? visible : 1))" >&2
    exit 1
fi
if [ "${NNODES:-1}" -gt 1 ]; then
    where=(--nnodes "$NNODES" --node-rank "${NODE_RANK:?set NODE_RANK, 0 to NNODES - 1}"
        --master-addr "${MASTER_ADDR:?set MASTER_ADDR, the first machine}" --master-port "${MASTER_PORT:-29500}")
else
    where=(--standalone)
fi
exec python -m torch.distributed.run "${where[@]}" --nproc-per-node "$processes" \
    "$tools/$script" "${arguments[@]}" --launcher pytorch "$@"
