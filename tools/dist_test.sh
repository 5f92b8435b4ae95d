#!/usr/bin/env bash
# Test on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT [GPUS] [options of tools/test.py]
# GPUS, NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT as in tools/dist_train.sh.
#
# examples:
#   tools/dist_test.sh configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth
#   tools/dist_test.sh configs/retinanet_gemnet_a.py work_dirs/retinanet_gemnet_a/epoch_72.pth 4 --out work_dirs/predictions
exec bash "$(dirname "$0")/dist.sh" test.py 2 "$@"
