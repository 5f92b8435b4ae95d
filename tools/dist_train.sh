#!/usr/bin/env bash
# Train on several GPUs: tools/dist_train.sh CONFIG [GPUS] [options of tools/train.py]
# GPUS: processes on this machine; default: all visible GPUs, or one process where there are none. Without a GPU, GPUS
# processes train on the CPU (gloo).
# Several machines: the same command on each, with NNODES, NODE_RANK and MASTER_ADDR (of the first machine) set; MASTER_PORT
# defaults to 29500.
#
# examples:
#   tools/dist_train.sh configs/retinanet_gemnet_a.py
#   tools/dist_train.sh configs/faster_rcnn_gemnet_b.py 4 --amp --auto-scale-lr
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh configs/retinanet_gemnet_a.py 8      on the first of two
exec bash "$(dirname "$0")/dist.sh" train.py 1 "$@"
