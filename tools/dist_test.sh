#!/usr/bin/env bash
# Test on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT [GPUS] [options of tools/test.py]
# GPUS, NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT as in tools/dist_train.sh.
exec bash "$(dirname "$0")/dist.sh" test.py 2 "$@"
