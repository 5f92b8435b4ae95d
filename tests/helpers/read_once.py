"""Makes mmengine read the lists of mmdet's and mmpretrain's configs once in a process.

For each `_base_ = 'mmdet::...'` it parses a hundred YAML files anew, which takes longer than all else that a config needs.
"""

from functools import cache

from mmengine.config import utils

if not hasattr(utils.load, "cache_info"):
    utils.load = cache(utils.load)
