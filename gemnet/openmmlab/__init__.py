"""What mmengine's runner needs: backbones, training and its schedule, processes, hooks, images, mmcv's operators."""
