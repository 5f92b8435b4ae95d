"""Read a checkpoint from anywhere without running what is in it, and put its weights into a module.

Files are safetensors, or PyTorch's read with `weights_only=True`. Training checkpoints of mmengine also pickle their log;
what is not a tensor or a plain container in them is replaced by an inert object, never built.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from gemnet.errors import UserError
from gemnet.files import check_regular, replacing

NESTED = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")
"""Where checkpoints keep the weights. The averaged ones first, as timm takes them: they are what it chose its best epoch by."""
PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "timm_model.", "body.")
TOLD = 8


class WeightsError(UserError):
    """A checkpoint that cannot be read or does not fit; the message names the file and the keys."""


class _Inert:
    """Takes the place of any object in a pickle that is not a weight."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights in a checkpoint: a file, or an http(s) address. Of averaged and plain weights, the averaged ones.

    Raises WeightsError for a file that is missing, damaged, holds no weights, or wants code to be run.
    """
    text, state = str(path), read_checkpoint(path)
    for _ in NESTED:  # bounded: a hostile file may hold itself
        if isinstance(state, Mapping):
            state = next((state[key] for key in NESTED if isinstance(state.get(key), Mapping) and state[key]), state)
    if not isinstance(state, Mapping) or not _is_state(state):
        raise WeightsError(f"{text}: holds no weights; expected a state dict, or one under {', '.join(NESTED)}")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    odd = [key for key, value in tensors.items() if not _is_plain(value)]
    if odd:
        raise WeightsError(f"{text}: {', '.join(odd[:TOLD])}: no weights to load; expected plain tensors of real numbers")
    return tensors


def read_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu") -> Any:
    """All of a checkpoint's tensors and plain containers; raises WeightsError as `read_state_dict` does."""
    text = str(path)
    try:
        file = _download(text) if re.match(r"https?://", text) else Path(text).expanduser()
        check_regular(file)
        return safetensors.torch.load_file(file) if file.suffix == ".safetensors" else _load_inert(file, map_location)
    except FileNotFoundError:
        raise WeightsError(f"{text}: no such checkpoint") from None
    except URLError as error:
        reason = f"{getattr(error, 'code', '')} {error.reason}".strip()
        raise WeightsError(f"{text}: cannot be fetched ({reason}); without a network, give a file") from error
    except Exception as error:  # a damaged pickle raises anything
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{text}: not a checkpoint that can be read safely ({first})") from error


def _download(address: str) -> Path:
    """Fetch once into torch.hub's cache, under a name that belongs to the whole address."""
    name = hashlib.sha256(address.encode()).hexdigest()[:16] + "-" + address.rsplit("/", 1)[-1]
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(file))
    return file


def _is_state(mapping: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in mapping.values())


def _is_plain(value: Tensor) -> bool:
    special = value.is_nested or value.is_quantized or value.is_meta or value.is_complex()
    return not special and value.layout == torch.strided


def _load_inert(path: Path, map_location: Any) -> Any:
    """`torch.load(weights_only=True)`; of other classes that the pickle names, numpy's data are built, the rest is inert."""
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        try:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except ValueError:  # an old file that is no zip archive
            raise error from None
    try:
        kinds = [getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")]
        with torch.serialization.safe_globals([*kinds, *((_numpy_data(name) or _Inert, name) for name in names)]):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"it asks for {', '.join(sorted(names)[:TOLD]) or 'what no weights need'}") from error


def _numpy_data(name: str) -> Any:
    """What numpy's arrays, scalars and data types are pickled with; None for anything else."""
    attribute = name.rpartition(".")[2]
    if name in ("numpy.ndarray", "numpy.dtype"):
        return getattr(np, attribute)
    if re.fullmatch(r"numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)", name):
        return getattr(np._core.multiarray if hasattr(np, "_core") else np.core.multiarray, attribute)
    return None


def load_weights(
    module: nn.Module, path: str | os.PathLike[str], prefix: str | None = None, ignore: Iterable[str] = ()
) -> None:
    """Load a checkpoint of the same network into `module`, whatever library it was trained with.

    prefix: where in the checkpoint the module's weights are, as `backbone.`; None finds out. ignore: regular expressions of
    keys, without that prefix, that the module may lack, as those of a classifier. Raises WeightsError that names the missing,
    unexpected and differently shaped keys; then the module was not changed.
    """
    state = _strip(read_state_dict(path), module.state_dict(), prefix)
    _load(module, state, path, ignore)


def _load(module: nn.Module, state: dict[str, Tensor], path: str | os.PathLike[str], ignore: Iterable[str] = ()) -> None:
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    allowed = re.compile("|".join(f"(?:{pattern})" for pattern in ignore) or r"(?!)")
    unexpected = [key for key in state if key not in own and not allowed.match(key)]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:TOLD])}{', ...' if len(keys) > TOLD else ''}"
        for what, keys in (("missing", missing), ("of another shape", shapes), ("unexpected", unexpected))
        if keys
    ]
    for key in ("classifier.weight", "head.fc.weight"):
        if key in own and key in state and state[key].ndim == own[key].ndim and len(state[key]) != len(own[key]):
            problems.append(f"it is for {len(state[key])} classes and the model for {len(own[key])}: set num_classes")
    if problems:
        raise WeightsError(f"{path}: a checkpoint of another network; of {len(own)} weights, {'; '.join(problems)}")
    module.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _strip(state: dict[str, Tensor], own: Mapping[str, Tensor], prefix: str | None) -> dict[str, Tensor]:
    """The part of `state` below `prefix`, or below the prefix that gives the most of the module's keys."""

    def below(start: str) -> dict[str, Tensor]:
        return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}

    if prefix is not None:
        return below(prefix if prefix.endswith(".") or not prefix else prefix + ".")
    candidates = [""]
    for start in candidates:  # grows while it is read: prefixes of prefixes
        for more in PREFIXES:
            if more not in start and any(key.startswith(start + more) for key in state):
                candidates.append(start + more)
    return max((below(start) for start in candidates), key=lambda part: sum(key in own for key in part))


FORMS = {"timm": ("", "classifier."), "mmpretrain": ("backbone.", "head.fc."), "mmdet": ("backbone.", None)}
"""Where each library keeps the network's weights and its classifier's; None: it has none."""


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str], form: str) -> int:
    """Write the weights of a classification or detection checkpoint in the form of another library; returns how many.

    form: one of FORMS. target: `.safetensors` or `.pth`; written whole or not at all. A checkpoint of a detector gives its
    backbone. Raises WeightsError where the source has no weights of a GEMNet, or the target's ending is another.
    """
    if form not in FORMS:
        raise WeightsError(f"form {form!r}: expected {', '.join(FORMS)}")
    target = Path(target)
    if target.suffix not in (".safetensors", ".pth"):
        raise WeightsError(f"{target}: expected a file .safetensors or .pth")
    plain = _plain(source)
    body, head = FORMS[form]
    state = {
        (head if key.startswith("classifier.") else body) + key.removeprefix("classifier."): value
        for key, value in plain.items()
        if head is not None or not key.startswith("classifier.")
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        if target.suffix == ".safetensors":
            safetensors.torch.save_file(state, temporary)
        else:
            torch.save(state if form == "timm" else {"state_dict": state}, temporary)
    return len(state)


def load_classifier(model: nn.Module, source: str | os.PathLike[str]) -> None:
    """Load a checkpoint of timm, mmpretrain or mmdet into timm's model; without a classifier in it, the model's own stays.

    Raises WeightsError that names the keys where it is of another network or number of classes.
    """
    plain, own = _plain(source), model.state_dict()
    if not any(key.startswith("classifier.") for key in plain):
        plain |= {key: value for key, value in own.items() if key.startswith("classifier.")}
    _load(model, plain, source)


def _plain(source: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights of a GEMNet in a checkpoint of any library, under timm's names."""
    plain: dict[str, Tensor] = {}
    for key, value in read_state_dict(source).items():
        while start := next((prefix for prefix in PREFIXES if key.startswith(prefix)), None):
            key = key.removeprefix(start)
        key = re.sub(r"^head\.fc\.", "classifier.", key)
        if key.startswith(("stem.", "stages.", "head_conv.", "classifier.")):
            plain[key] = value.contiguous()
    if "stem.conv.weight" not in plain:
        raise WeightsError(f"{source}: no weights of a GEMNet; expected stem.*, stages.*, ...")
    return plain
