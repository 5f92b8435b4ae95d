"""The made task and the small space, and models trained on them for a moment: once in a process, whoever asks."""

from functools import cache

import pytest
from made_task import made_task
from small_space import QUICK, SMALL, every_graph, ordered

from search.encoders.svge.model import SVGe
from search.experiments.svge.prediction import fine_tuned


@cache
def _task():
    return made_task()


@cache
def _graphs():
    found = every_graph(SMALL)
    return found[ordered(found)]


@cache
def _trained(of, **settings):
    """A model trained on the made task, or on the graphs of the small space."""
    space, graphs = (_task().space, _task().graphs) if of == "task" else (SMALL, _graphs())
    model = SVGe(space, **settings)
    model.fit(graphs, seed=0)
    return model


@cache
def _tuned():
    return fine_tuned(_trained("task", **_task().settings), _task(), seed=0)


@pytest.fixture(scope="session")
def task():
    return _task()


@pytest.fixture(scope="session")
def model():
    return _trained("task", **_task().settings)


@pytest.fixture(scope="session")
def tuned():
    return _tuned()


@pytest.fixture(scope="session")
def graphs():
    """No two are isomorphic: the encoder could not tell them apart."""
    return _graphs()


@pytest.fixture(scope="session")
def learned():
    """One training that several tests look at."""
    return _trained("graphs", state=48, epochs=170, batch=31, lr=3e-3)


@pytest.fixture(scope="session")
def quick():
    return _trained("graphs", **QUICK)
