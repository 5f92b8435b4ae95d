"""The door by which mmengine finds what has the scope `gemnet`: it imports this module when it meets `type='gemnet.…'`.

`custom_imports = dict(imports=['gemnet.registry'])` in a config does the same when the config is read.
"""

from gemnet.openmmlab.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPERS,
    SCOPE,
    TRANSFORMS,
)

__all__ = ["DATASETS", "HOOKS", "METRICS", "MODELS", "MODEL_WRAPPERS", "OPTIM_WRAPPERS", "SCOPE", "TRANSFORMS"]
