# What `python tools/detect.py photos/` trains; a config of one's own inherits it: `_base_ = ["gemnet::own_detector.py"]`.
_base_ = "./_base_/own_detector.py"
