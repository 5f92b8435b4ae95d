#!/usr/bin/env bash
# Train on a Slurm cluster: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
# GPUS (default 8), GPUS_PER_NODE (8 or fewer), CPUS_PER_TASK (5) and SRUN_ARGS may be set; MASTER_PORT defaults to 29500.
set -euo pipefail
if [ $# -lt 3 ] || [ "$1" = --help ]; then
    sed -n '2,3s/^# //p' "$0"
    [ "${1:-}" = --help ] && exit 0 || exit 2
fi
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# shellcheck disable=SC2086
exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
