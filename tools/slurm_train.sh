#!/usr/bin/env bash
# Train on a Slurm cluster: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
# GPUS (default 8), GPUS_PER_NODE (8 or fewer), CPUS_PER_TASK (5) and SRUN_ARGS may be set; MASTER_PORT defaults to 29500.
#
# examples:
#   tools/slurm_train.sh gpu retinanet configs/retinanet_gemnet_a.py --amp
#   GPUS=16 GPUS_PER_NODE=8 tools/slurm_train.sh gpu imagenet configs/gemnet_a_imagenet.py --resume
set -euo pipefail
if [ $# -lt 3 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    case "${1:-}" in --help | -h) exit 0 ;; *) exit 2 ;; esac
fi
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# shellcheck disable=SC2086
exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
