"""Put a checkpoint's weights into a module, and convert them between the forms of timm, mmpretrain and mmdet."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn

from gemnet.checkpoints.reading import (
    TOLD,
    Taken,
    WeightsError,
    containers,
    find,
    plain_tensors,
    read_checkpoint,
    read_state_dict,
    trained_backbone,
)  # fmt: skip
from gemnet.core.files import replacing

if TYPE_CHECKING:
    from gemnet.network import GEMNet

__all__ = [
    "FORMS", "WeightsError", "convert", "fitting_weights", "load_classifier", "load_features", "load_weights",
    "read_checkpoint", "read_state_dict",
]  # fmt: skip

CLASSIFIER, BODY = "classifier.", re.compile(r"(?:stem|stages|head_conv)\.")
ANCHOR = "stem.conv.weight"
"""What every GEMNet has."""
FORMS = {"timm": ("", "classifier."), "mmpretrain": ("backbone.", "head.fc."), "mmdet": ("backbone.", None)}
"""Where each library keeps the network's weights and its classifier's; None: it has none."""


def load_weights(
    module: nn.Module,
    path: str | os.PathLike[str],
    prefix: str | None = None,
    ignore: Iterable[str] = (),
    weights: str | None = None,
) -> Taken:
    """Load a checkpoint of the same network into `module`, whatever library it was trained with; returns what was taken.

    prefix: where in the checkpoint the module's weights are, as `backbone.`; None finds out. ignore: regular expressions of
    keys, without that prefix, that the module may lack, as those of a classifier. weights: `averaged` or `raw`, where there
    are both; None takes the averaged ones. Raises WeightsError that names the missing, unexpected and differently shaped keys,
    or the candidates where several weights fit; then the module was not changed.
    """
    taken = find(path, read_checkpoint(path), module.state_dict().keys(), prefix, weights)
    _load(module, plain_tensors(path, taken.held.tensors), path, ignore)
    return taken


def _load(module: nn.Module, state: dict[str, Tensor], path: str | os.PathLike[str], ignore: Iterable[str] = ()) -> None:
    own = module.state_dict()
    allowed = re.compile("|".join(f"(?:{pattern})" for pattern in ignore) or r"(?!)")
    _check(own, {key: value for key, value in state.items() if key in own or not allowed.match(key)}, path)
    module.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _check(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Raises WeightsError where the names and shapes of `state` are not those of the module's `own`."""
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:TOLD])}{', ...' if len(keys) > TOLD else ''}"
        for what, keys in (("missing", missing), ("of another shape", shapes), ("unexpected", unexpected))
        if keys
    ]
    for key in ("classifier.weight", "head.fc.weight"):
        if key in own and key in state and state[key].ndim == own[key].ndim and len(state[key]) != len(own[key]):
            there, here = len(state[key]), len(own[key])
            problems.append(f"it is for {there} classes and the model for {here}: set num_classes ({there})")
    for key in (ANCHOR, f"backbone.{ANCHOR}"):
        if key in own and key in state and state[key].ndim == 4 and state[key].shape[1] != own[key].shape[1]:
            there, here = state[key].shape[1], own[key].shape[1]
            problems.append(f"it is for images of {there} channels and the model for {here}: set in_chans ({there})")
    if any(".bn." in key for key in missing) and any(key.endswith("conv.bias") for key in unexpected):
        problems.append(FUSED)
    if problems:
        raise WeightsError(f"{path}: a checkpoint of another network; of {len(own)} weights, {'; '.join(problems)}")


FUSED = (
    "it was saved from a fused model (`gemnet.fused`), whose normalisation is folded into the convolutions, which cannot be "
    "undone: take the checkpoint that it was fused from"
)


@dataclass(frozen=True)
class Network:
    """The weights of a GEMNet in a checkpoint, under timm's names."""

    taken: Taken
    weights: dict[str, Tensor]

    @property
    def has_classifier(self) -> bool:
        return any(key.startswith(CLASSIFIER) for key in self.weights)


def _network(source: str | os.PathLike[str], checkpoint: Any, prefix: str | None = None, kind: str | None = None) -> Network:
    """Find a GEMNet of any library in a checkpoint. Raises WeightsError where there is none, or a fused one, and as `find`."""
    taken = find(source, checkpoint, _body_names(checkpoint), prefix, kind)
    held = taken.held
    plain = {key: value for key, value in held.tensors.items() if BODY.match(key)}
    if ANCHOR not in plain:
        raise WeightsError(f"{source}: no weights of a GEMNet; expected stem.*, stages.*, ...")
    if not any(".bn." in key for key in plain) and any(key.endswith("conv.bias") for key in plain):
        raise WeightsError(f"{source}: {FUSED}")
    _check_layers(source, plain)
    for start in (held.prefix + CLASSIFIER, held.prefix.removesuffix("backbone.") + "head.fc.", held.prefix + "head.fc."):
        head = {CLASSIFIER + key.removeprefix(start): held.container[key] for key in held.container if key.startswith(start)}
        if head:
            plain |= head
            break
    return Network(taken, plain_tensors(source, plain))


def _check_layers(source: str | os.PathLike[str], weights: Mapping[str, Tensor]) -> None:
    """Raises WeightsError where of a layer, a convolution and its normalisation, only a part is there."""
    found: dict[str, set[str]] = {}
    for key in weights:
        match = re.fullmatch(r"(.*?)(?:\.?(conv|bn)\.)?(\w+)", key)
        if match is not None and match[2]:
            found.setdefault(match[1], set()).add(f"{match[2]}.{match[3]}")
    normalised = set().union(*found.values()) - {"bn.num_batches_tracked"}
    lost = [f"{layer}.{name}" for layer, there in found.items() for name in sorted(normalised - there)]
    if lost:
        raise WeightsError(f"{source}: incomplete: {len(lost)} weights are missing, first {', '.join(lost[:TOLD])}")


def _body_names(checkpoint: Any) -> set[str]:
    """The names of the weights that lie beside a GEMNet's first one, wherever it is."""
    names: set[str] = set()
    for held in containers(checkpoint):
        for prefix in [
            key.removesuffix(ANCHOR) for key in held.container if re.search(rf"(?:^|[._]){re.escape(ANCHOR)}$", key)
        ]:
            names |= {key.removeprefix(prefix) for key in held.container if BODY.match(key.removeprefix(prefix))}
    return names


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote: how many weights, in which form, taken from where. Printed, it is a few lines for people."""

    target: Path
    form: str
    count: int
    taken: Taken
    has_classifier: bool
    has_head_conv: bool

    def __str__(self) -> str:
        lines = [str(self.taken), f"{self.target}: {self.count} weights in the form of {self.form}"]
        if not self.has_head_conv:
            lines.append(f"{self.target}: no head convolution, for {self.taken.source} has none")
        if not self.has_classifier and FORMS[self.form][1] is not None:
            how = "num_classes=0" if self.form == "timm" else "a head of its own to train"
            lines.append(f"{self.target}: no classifier, for {self.taken.source} has none: it fits a model with {how}")
        return "\n".join(lines)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    form: str,
    prefix: str | None = None,
    weights: str | None = None,
) -> Converted:
    """Write the weights of a classification or detection checkpoint in the form of another library.

    form: one of FORMS. target: `.safetensors` or `.pth`; written whole or not at all. A checkpoint of a detector gives its
    backbone, without a classifier. prefix, weights: as `load_weights`. Raises WeightsError where the source has no weights of a
    GEMNet, or the target's ending is another.
    """
    if form not in FORMS:
        raise WeightsError(f"form {form!r}: expected {', '.join(FORMS)}")
    target = Path(target)
    if target.suffix not in (".safetensors", ".pth"):
        raise WeightsError(f"{target}: expected a file .safetensors or .pth")
    network = _network(source, read_checkpoint(source), prefix, weights)
    body, head = FORMS[form]
    state = {  # copies: safetensors takes no memory that is shared, and a .pth would keep all of what a part is cut from
        place + key.removeprefix(CLASSIFIER): _copied(value)
        for key, value in network.weights.items()
        if (place := head if key.startswith(CLASSIFIER) else body) is not None
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        if target.suffix == ".safetensors":
            safetensors.torch.save_file(state, temporary)
        else:
            torch.save(state if form == "timm" else {"state_dict": state}, temporary)
    has_head_conv = any(key.startswith("head_conv.") for key in network.weights)
    return Converted(target, form, len(state), network.taken, network.has_classifier, has_head_conv)


def _copied(value: Tensor) -> Tensor:
    return value.detach().clone(memory_format=torch.contiguous_format)


def load_classifier(
    model: GEMNet, source: str | os.PathLike[str], prefix: str | None = None, weights: str | None = None
) -> Taken:
    """Load a checkpoint of timm, mmpretrain or mmdet into timm's model, the classifier too; returns what was taken.

    prefix, weights: as `load_weights`. Raises WeightsError that names the keys where it is of another network or number of
    classes, or has no classifier, as a detector's.
    """
    checkpoint = read_checkpoint(source)
    network = _network(source, checkpoint, prefix, weights)
    own = model.state_dict()
    lacking = [key for key in own if key.startswith(CLASSIFIER) and key not in network.weights]
    if lacking and not network.has_classifier:
        _check({key: value for key, value in own.items() if key not in lacking}, network.weights, source)
        told = f"no classifier is in it ({', '.join(lacking)} are missing), as in a detector's or backbone's checkpoint"
        raise WeightsError(f"{source}: {told}; take the checkpoint of a classifier, or the network's maps alone (--features)")
    _check_residual(model, checkpoint, source)
    _load(model, network.weights, source)
    return network.taken


def load_features(
    model: GEMNet, source: str | os.PathLike[str], prefix: str | None = None, weights: str | None = None
) -> tuple[Taken, list[str]]:
    """As `load_classifier`, without the classifier of either: for the maps alone. A detector's checkpoint will do.

    The last stages and the head convolution, which a detector may do without, are taken off the model where the checkpoint has
    none of their weights; their names come second.
    """
    checkpoint = read_checkpoint(source)
    network = _network(source, checkpoint, prefix, weights)
    body = {key: value for key, value in network.weights.items() if not key.startswith(CLASSIFIER)}
    left_out: list[str] = []
    stages = len(model.stages)
    while stages > 1 and not any(key.startswith(f"stages.{stages - 1}.") for key in body):
        stages -= 1
        left_out.insert(0, f"stages.{stages}")
    if not any(key.startswith("head_conv.") for key in body) and not isinstance(model.head_conv, nn.Identity):
        left_out.append("head_conv")
    own = {key: value for key, value in model.state_dict().items() if not key.startswith((CLASSIFIER, *left_out))}
    _check(own, body, source)
    _check_residual(model, checkpoint, source)
    if left_out:
        model.prune_intermediate_layers([stages - 1], prune_norm=True)
    model.load_state_dict(body, strict=False)
    return network.taken, left_out


def _check_residual(model: GEMNet, checkpoint: Any, source: str | os.PathLike[str]) -> None:
    """Raises WeightsError where mmengine's checkpoint tells otherwise of residual connections, which no weight shows."""
    trained = trained_backbone(checkpoint)
    residual = trained.get("residual", False)
    if "cell" in trained and isinstance(residual, bool) and residual != model.architecture.residual:
        told = f"trained with residual={residual}, but the model has residual={model.architecture.residual}"
        raise WeightsError(f"{source}: {told}; build it as it was trained ({'with' if residual else 'without'} --residual)")


def fitting_weights(state: Mapping[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """The weights of a GEMNet in a state dict of any library, under timm's names, for timm to load into `model`.

    Classes and image channels may be other ones, which timm adapts. Raises WeightsError where anything else does not fit: timm
    would pass over it wherever the number of classes differs.
    """
    found = _network("the checkpoint", state).weights
    own = {key: value for key, value in model.state_dict().items() if not key.startswith(CLASSIFIER)}
    body = {key: value for key, value in found.items() if not key.startswith(CLASSIFIER)}
    first = body[ANCHOR]
    if first.ndim == 4 and first.shape[0] == own[ANCHOR].shape[0] and first.shape[2:] == own[ANCHOR].shape[2:]:
        body[ANCHOR] = own[ANCHOR]
    _check(own, body, "the checkpoint")
    return {key: _copied(value) for key, value in found.items()}
