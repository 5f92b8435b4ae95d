"""Search for the backbone of your own detector: data.root holds photos with boxes, as COCO, Pascal VOC, YOLO or CSV have them.

    python tools/search.py configs/search/own_detector.py --cfg-options data.root=photos

Cells are compared by how well small networks of them tell crops of the boxes, and of the background, from each other. The
budget is that of the detector's backbone: every cell makes a detector of at most 2 G MACs and 7 M params at 320 pixels.
"""

_base_ = ["_base_/nasgem.py"]

space = dict(density=[0.02, 0.1])  # few wide nodes, which are fast
encoder = dict(_delete_=True, type="statistics")
predictor = dict(_delete_=True, type="ensemble")
data = dict(type="box_crops", root="photos")
proxy = dict(macs=2e6, stem_width=32, stem_stride=2, epochs=8, batch_size=32, learning_rate=0.1, shift=4, flip=True)
cost, penalty = dict(type="activations"), 0.05  # of networks with the same MACs, those with fewer activations are faster
model = dict(target_params=4.5e6, residual=True)  # and 463 M MACs
search = dict(start=16, rounds=3, batch=8, draws=20_000)
