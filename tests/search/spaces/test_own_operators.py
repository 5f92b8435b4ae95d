"""A space with operators of one's own."""

import numpy as np
import pytest
from commands import run_tool
from doc_examples import run_page
from extensions import own_operators_registered

from gemnet import operators
from gemnet.architecture import Architecture
from gemnet.complexity import network_cost
from gemnet.drawing.colours import operator_colours
from search.core.types import SearchError
from search.spaces.dag import DagSpace, prune, statistics

NAMES = ("conv1x1", "made_se3x3", "made_rounded3x3", "made_plain1x1")


@pytest.fixture(autouse=True)
def own():
    with own_operators_registered() as module:
        yield module


def test_arrays_of_cells_with_costs_of_any_kind_are_priced_as_the_cells_one_by_one():
    space = DagSpace(8, NAMES)
    arrays = prune(space.sample(np.random.default_rng(0), 25))
    cells = space.to_cells(arrays)
    shape = {"widths": (16, 24), "depths": (2, 1), "stem_width": 16, "head_width": 32}
    together = network_cost(Architecture(cells[0], **shape), (12, 9), 10, 3, statistics(space, arrays))
    alone = [network_cost(Architecture(cell, **shape), (12, 9), 10, 3) for cell in cells]
    assert len(set(alone)) > 15
    for field in ("params", "macs", "activations"):
        assert getattr(together, field).tolist() == [getattr(cost, field) for cost in alone]


def test_a_space_takes_operators_by_name_and_those_that_were_loaded_by_their_import_path():
    with pytest.raises(SearchError, match="found 'own_operators:plain'"):
        DagSpace(5, ["own_operators:plain"])
    operators.load("own_operators:plain")
    space = DagSpace(5, ["conv1x1", "own_operators:plain"])
    assert space.operators == ("conv1x1", "made_plain1x1")
    with pytest.raises(SearchError, match="expected each once"):
        DagSpace(5, ["made_plain1x1", "own_operators:plain"])


@pytest.mark.slow  # its workers are new Pythons; what workers do with an own operator: test_executor.py
def test_the_search_of_the_page_on_operators_trains_cells_with_the_operator_in_workers(tmp_path):
    run_page("docs/extending/operator.md", tmp_path)
    result = run_tool(tmp_path / "my_search.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = (tmp_path / "work_dirs/irse/report.html").read_text(encoding="utf-8")
    assert operator_colours(["irse3x3"])["irse3x3"] in report
