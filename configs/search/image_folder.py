"""Search on your own images: data.root holds one folder of images a class.

python tools/search.py configs/search/image_folder.py --cfg-options data.root=photos
"""

_base_ = ["_base_/nasgem.py"]

data = dict(type="image_folder", root="data/images", size=64)
proxy = dict()
search = dict(start=16, rounds=3, batch=8, draws=50_000)
