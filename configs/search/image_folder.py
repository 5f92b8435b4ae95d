"""Search on your own images: data.root holds one folder of images a class.

    python tools/search.py configs/search/image_folder.py --cfg-options data.root=photos

Images are cut to their largest centred square and resized to data.size pixels. train_per_class bounds the time of a candidate.
"""

_base_ = ["_base_/nasgem.py"]

data = dict(type="image_folder", root="data/images", size=64, train_per_class=200, val_per_class=20)
proxy = dict(width=8, stem_width=16, stem_stride=2, epochs=10, batch_size=64, learning_rate=0.1, shift=6, flip=True)
search = dict(start=16, rounds=3, batch=8, draws=50_000)
