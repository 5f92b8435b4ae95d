"""Checkpoints by address: `gemnet://gemnet_a` of the package, and OpenMMLab's, as `torchvision://resnet50` or `mmcls://...`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping

from gemnet.model_table import SCHEME, shipped_weights, weights_file
from gemnet.weights import WeightsError


def _gemnet() -> Mapping[str, str]:
    return {name: str(weights_file(name)) for name in shipped_weights()}


def _torchvision() -> Mapping[str, str]:
    from mmengine.runner.checkpoint import get_torchvision_models

    names = get_torchvision_models()
    return {**{name.removesuffix(".default"): address for name, address in names.items()}, **names}


def _openmmlab() -> Mapping[str, str]:
    from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models

    current = get_external_models()
    return {**current, **{old: current[new] for old, new in get_deprecated_model_names().items() if new in current}}


def _mmcls() -> Mapping[str, str]:
    from mmengine.runner.checkpoint import get_mmcls_models

    return get_mmcls_models()


SCHEMES: dict[str, Callable[[], Mapping[str, str]]] = {
    SCHEME: _gemnet,
    "torchvision": _torchvision,
    "modelzoo": _torchvision,
    "open-mmlab": _openmmlab,
    "openmmlab": _openmmlab,
    "mmcls": _mmcls,
}
"""Schemes, with lists of names and where their files are: ours, and mmengine's."""


def resolve(checkpoint: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The file or http(s) address that a checkpoint's name stands for; a file and an http(s) address stand for themselves.

    Raises WeightsError where the scheme or the name is not known, with the nearest names.
    """
    match = re.match(r"([\w.+-]+)://(.*)", str(checkpoint), re.DOTALL)
    if match is None or match[1] in ("http", "https"):
        return checkpoint
    scheme, name = match.groups()
    if scheme == "file":
        return name
    if scheme not in SCHEMES:
        known = ", ".join(f"{known}://" for known in ("http", "https", *SCHEMES))
        hint = "; a library's own weights come with gemnet.FeatureBackbone's pretrained=True" if scheme == "timm" else ""
        raise WeightsError(f"{checkpoint}: {scheme}:// is not read here; expected a file or one of {known}{hint}")
    names = SCHEMES[scheme]()
    if name not in names:
        near = difflib.get_close_matches(name, names, 3)
        told = f"near are {', '.join(near)}" if near else f"there are {', '.join(sorted(names)[:8])}, ..."
        raise WeightsError(f"{checkpoint}: no such name; {told}")
    if re.match(r"https?://", names[name]) or os.path.isabs(names[name]):
        return names[name]
    from mmengine.runner.checkpoint import _get_mmengine_home  # where mmengine's own loader looks

    return os.path.join(_get_mmengine_home(), names[name])
