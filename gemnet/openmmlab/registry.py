"""Child registries of mmengine's under the scope `gemnet`.

mmengine imports `gemnet.registry`, the door to this module, when it meets `type='gemnet.…'`, and then the modules in
`locations`, so that nothing need be imported before.
"""

from importlib.util import find_spec

from mmengine import registry

SCOPE = "gemnet"
DETECTION = (
    ["gemnet.detection.head", "gemnet.detection.neck"] if find_spec("mmdet") else []
)  # MMPretrain alone will do for the backbone

MODELS = registry.Registry(
    "model", parent=registry.MODELS, scope=SCOPE,
    locations=[*(f"gemnet.openmmlab.{name}" for name in ("backbone", "features", "distributed", "averaging")), *DETECTION],
)  # fmt: skip
DATASETS = registry.Registry(
    "dataset", parent=registry.DATASETS, scope=SCOPE,
    locations=["gemnet.openmmlab.images", *(["gemnet.detection.coco_dataset"] if DETECTION else [])],
)  # fmt: skip
METRICS = registry.Registry(
    "metric", parent=registry.METRICS, scope=SCOPE, locations=["gemnet.detection.evaluation"] if DETECTION else []
)
TRANSFORMS = registry.Registry("transform", parent=registry.TRANSFORMS, scope=SCOPE, locations=["gemnet.openmmlab.images"])
HOOKS = registry.Registry(
    "hook",
    parent=registry.HOOKS,
    scope=SCOPE,
    locations=[f"gemnet.openmmlab.{name}" for name in ("hooks", "averaging", "schedule", "timed")],
)
LOOPS = registry.Registry("loop", parent=registry.LOOPS, scope=SCOPE, locations=["gemnet.openmmlab.timed"])
MODEL_WRAPPERS = registry.Registry(
    "model_wrapper", parent=registry.MODEL_WRAPPERS, scope=SCOPE, locations=["gemnet.openmmlab.distributed"]
)
OPTIM_WRAPPERS = registry.Registry(
    "optim_wrapper", parent=registry.OPTIM_WRAPPERS, scope=SCOPE, locations=["gemnet.openmmlab.distributed"]
)
