"""What a test registers is forgotten after it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from types import ModuleType

from timm.models import _registry as timm_registry

from gemnet import model_table, models, operators

TABLES = (
    operators.OPERATORS, operators.LABELS, operators._BY_PATH, model_table.MODELS, models.default_cfgs,
    *(table for name, table in vars(timm_registry).items() if name.startswith("_mod") and isinstance(table, (dict, set))),
)  # fmt: skip
"""Ours, and timm's tables of models."""


@contextmanager
def registries_restored() -> Iterator[None]:
    """Within, operators, labels and models may be registered; afterwards gemnet and timm know what they knew before."""
    before = [{k: copy(v) for k, v in table.items()} if isinstance(table, dict) else set(table) for table in TABLES]
    try:
        yield
    finally:
        for table, content in zip(TABLES, before, strict=True):
            table.clear()
            table.update(content)


@contextmanager
def own_operators_registered() -> Iterator[ModuleType]:
    """Within, the operators of tests/helpers/own_operators.py are registered, by that module, which is imported anew."""
    with registries_restored():
        sys.modules.pop("own_operators", None)
        yield importlib.import_module("own_operators")
        sys.modules.pop("own_operators", None)
