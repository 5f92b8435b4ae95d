"""Published tabular benchmarks as search spaces: every cell was trained once for all, and its accuracy is looked up."""

from collections.abc import Callable

from search.spaces.nasbench101 import NasBench101Space
from search.spaces.nasbench201 import NasBench201Space
from search.spaces.tabular import Table, TabularEvaluator, TabularSpace

SPACES: dict[str, Callable[..., TabularSpace]] = {"nasbench101": NasBench101Space, "nasbench201": NasBench201Space}

__all__ = ["SPACES", "NasBench101Space", "NasBench201Space", "Table", "TabularEvaluator", "TabularSpace"]
