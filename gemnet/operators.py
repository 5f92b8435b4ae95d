"""Operators: what a node of a cell may compute, by name; any builder of modules joins those that are built in by a decorator.

The convolutions here are followed by batch normalisation and ReLU, in that order (paper, section 4). Blocks of mobile networks
are built in as well: see `gemnet.mobile_operators`.
"""

from __future__ import annotations

import re
import sys
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gemnet.core.errors import UserError
from gemnet.core.own_modules import import_attribute
from gemnet.cost import Cost, FormulaCost, OperatorCost, OperatorError, affine_form, conv_cost, sepconv_cost
from gemnet.counting import CountedCost
from gemnet.mobile_operators import SPECS

if TYPE_CHECKING:
    from torch import nn

INPUT = "input"
Builder = TypeVar("Builder", bound=Callable[..., Any])
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,59}")


@dataclass(frozen=True)
class Operator:
    """A named operator, at stride 1.

    name: what cell files call it.
    build: `(in_channels, out_channels, **layers)` -> a module [B, in_channels, H, W] -> [B, out_channels, H, W]; `layers` are
        norm_layer, act_layer, device and dtype.
    cost: of one node.
    """

    name: str
    build: Callable[..., nn.Module]
    cost: OperatorCost

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the builder by its import path, whose module registers the operator again; what has none goes as it is."""
        if BUILT_IN.get(self.name) is self:
            return operator, (self.name,)
        return _restored, (self.name, self.build, None if _importable(self.build) else self.cost)


def _conv(name: str, kernel_size: int) -> Operator:
    def build(in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
        from gemnet.layers import ConvNormAct  # here, so that cells can be read without torch

        return ConvNormAct(in_channels, out_channels, kernel_size, **layers)

    return Operator(name, build, FormulaCost(lambda *shape: conv_cost(kernel_size, *shape), affine=True))


def _sepconv(name: str, kernel_size: int) -> Operator:
    def build(in_channels: int, out_channels: int, **layers: Any) -> nn.Module:
        from gemnet.layers import SepConvNormAct

        return SepConvNormAct(in_channels, out_channels, kernel_size, **layers)

    return Operator(name, build, FormulaCost(lambda *shape: sepconv_cost(kernel_size, *shape), affine=True))


_CONVOLUTIONS = (
    _conv("conv1x1", 1), _conv("conv3x3", 3), _sepconv("sepconv3x3", 3), _sepconv("sepconv5x5", 5), _sepconv("sepconv7x7", 7),
)  # fmt: skip
_BLOCKS = (Operator(spec.name, spec.build, FormulaCost(spec.cost, spec.affine)) for spec in SPECS)
BUILT_IN = {op.name: op for op in (*_CONVOLUTIONS, *_BLOCKS)}
OPERATORS: dict[str, Operator] = dict(BUILT_IN)
"""All operators of this process by name: the built-in ones, then those that are registered."""
_BY_PATH: dict[str, Operator] = {}
NAMES: Mapping[str, Operator] = ChainMap(_BY_PATH, OPERATORS)
"""What a config may call an operator: its name, or an import path that `load` was given."""

LABELS: dict[str, str] = {
    "maxpool3x3": "NAS-Bench-101 and ENAS",
    "output": "NAS-Bench-101, NAS-Bench-201 and ENAS",
    "none": "NAS-Bench-201",
    "skip_connect": "NAS-Bench-201",
    "nor_conv_1x1": "NAS-Bench-201",
    "nor_conv_3x3": "NAS-Bench-201",
    "avg_pool_3x3": "NAS-Bench-201",
    "conv5x5": "ENAS",
    "avgpool3x3": "ENAS",
    **{
        f"{block}_stage{stage}{stride}": "NAS-Bench-Macro"
        for stage in (1, 2, 3)
        for stride in ("_stride2", "")
        for block in ("identity", "mb3_k3", "mb6_k5")
        if stride or block != "identity"
    },
}
"""Operators of published benchmarks, with their names. A cell may hold them: it is drawn, compared, stored and searched for
like any other. But no network of stages is built of it, for its edges mean something else: sums, not concatenation."""


def operator(name: str) -> Operator:
    """Look up a registered operator. Raises OperatorError, with the remedy, for a name that is not registered."""
    if name not in OPERATORS:
        raise OperatorError(f"operator {name!r} is not registered; expected one of {known_names()}{REMEDY}")
    return OPERATORS[name]


def known_names() -> str:
    """The operators of this process for a message, those of mobile networks by an example."""
    mobile = {spec.name for spec in SPECS}
    return ", ".join([*(name for name in OPERATORS if name not in mobile), "blocks as mbconv3x3_e6"])


REMEDY = "; an operator of your own: first import the module that registers it (gemnet.register_operator)"


def register_operator(
    name: str, *, cost: Callable[[Any, Any, tuple[int, int]], Cost] | None = None, affine: bool = False
) -> Callable[[Builder], Builder]:
    """Decorate a function or class that builds modules: from now on, cells may have it on a node.

    The builder is called as `build(in_channels, out_channels, **layers)`, with norm_layer, act_layer, device and dtype as
    `layers`, and gives a module [B, in_channels, H, W] -> [B, out_channels, H, W]. A module with a method `init_weights` starts
    as that says, others as every convolution and linear layer of the network.

    Args:
        name: what cell files call it.
        cost: `(in_channels, out_channels, (height, width))` -> the `Cost` of one node, for ints and integer arrays. Without it
            the module is counted on the device `meta`.
        affine: whether `cost` is affine in the input channels; then arrays of cells are priced faster.

    Returns:
        the decorator, which gives the builder back as it is.

    Raises:
        OperatorError: for what is no name, the name of another operator, or a cost that is not affine though it is said to be.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OperatorError(
            f"register_operator({name!r}): expected a name of letters, digits and any of _.+-, as in"
            " @register_operator('mine3x3')"
        )
    if cost is not None and affine:
        _check_affine(name, cost)

    def register(build: Builder) -> Builder:
        if not callable(build):
            raise OperatorError(f"operator {name!r}: expected a function or class that builds modules, found {build!r}")
        known = OPERATORS.get(name)
        if name == INPUT or name in LABELS or (known is not None and _path(known.build) != _path(build)):
            owner = _path(known.build) if known is not None else LABELS.get(name, "the input of every cell")
            raise OperatorError(f"operator {name!r} is taken, by {owner}; expected another name for {_path(build)}")
        OPERATORS[name] = Operator(name, build, CountedCost(name, build) if cost is None else FormulaCost(cost, affine))
        return build

    return register


def unregister_operator(name: str) -> None:
    """Forget a registered operator. Raises OperatorError for one that is built in or not registered."""
    if name in BUILT_IN:
        raise OperatorError(f"operator {name!r} is built in; expected one that was registered")
    known = operator(name)
    del OPERATORS[name]
    for path in [path for path, one in _BY_PATH.items() if one is known]:
        del _BY_PATH[path]


def register_labels(source: str, names: Iterable[str]) -> None:
    """Let cells have names on nodes that stand for something but build nothing, as those of a benchmark's table.

    Args:
        source: what the names are from, for messages.
        names: of which none is an operator's.

    Raises:
        OperatorError: for what is no name, or the name of an operator.
    """
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in OPERATORS or name == INPUT:
            raise OperatorError(f"register_labels: expected names that no operator has, found {name!r}")
        LABELS.setdefault(name, source)


def load(path: str) -> Operator:
    """Import the operator at an import path, "module:builder"; the working directory counts, after all other places.

    This runs the module: only what a user wrote by hand may be given here. A builder that its module does not register is
    registered under its own name.

    Raises:
        OperatorError: where it cannot be had.
    """
    try:
        build = import_attribute(path, "operator", "module:builder")
    except UserError as error:
        raise OperatorError(str(error)) from error
    if not any(one.build is build for one in OPERATORS.values()):
        register_operator(path.partition(":")[2])(build)
    _BY_PATH[path] = next(one for one in OPERATORS.values() if one.build is build)
    return _BY_PATH[path]


def own_operators(names: Iterable[str]) -> tuple[Operator, ...]:
    """Of the operators called `names` those that are registered and not built in, each once."""
    return tuple(OPERATORS[name] for name in dict.fromkeys(names) if name in OPERATORS and name not in BUILT_IN)


def _check_affine(name: str, cost: Callable[[Any, Any, tuple[int, int]], Cost]) -> None:
    for out_channels, resolution in ((24, (7, 7)), (7, (3, 5))):
        fixed, slope = affine_form(cost, out_channels, resolution)
        for in_channels in (2, 7, 64, 999):
            if cost(in_channels, out_channels, resolution) != fixed + in_channels * slope:
                raise OperatorError(
                    f"operator {name!r}: its cost at {in_channels} input channels is not affine in them; leave affine=True out"
                )


def _path(build: Callable[..., Any]) -> str:
    return f"{getattr(build, '__module__', '')}:{getattr(build, '__qualname__', repr(build))}"


def _importable(build: Callable[..., Any]) -> bool:
    """Whether importing the module of a builder gives the builder: not in a notebook, or within a function."""
    module, _, attribute = _path(build).partition(":")
    return module not in ("__main__", "__mp_main__") and getattr(sys.modules.get(module), attribute, None) is build


def _restored(name: str, build: Callable[..., nn.Module], cost: OperatorCost | None) -> Operator:
    """The operator of a pickle, registered in this process: by the module of `build`, which is imported by now, or here."""
    if name not in OPERATORS:
        OPERATORS[name] = Operator(name, build, CountedCost(name, build) if cost is None else cost)
    return OPERATORS[name]
