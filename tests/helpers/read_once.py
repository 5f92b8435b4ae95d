"""Makes mmengine read the lists of mmdet's and mmpretrain's configs once in a process, and write configs as they are.

For each `_base_ = 'mmdet::...'` it parses a hundred YAML files anew, which takes longer than all else that a config needs.
It lays out the text of a run's config by yapf six times, which takes longer than the epochs of most tests; unformatted, the
text is the same Python. Tools that are started in a new Python do both.
"""

from functools import cache

from mmengine.config import utils
from yapf.yapflib import yapf_api

if not hasattr(utils.load, "cache_info"):
    utils.load = cache(utils.load)


def as_it_is(text: str, **_: object) -> tuple[str, bool]:
    return text, False


yapf_api.FormatCode = as_it_is
