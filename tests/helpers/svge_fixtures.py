"""The made task and the small space, and models trained on them for a moment."""

import pytest
from made_task import made_task
from small_space import QUICK, SMALL, every_graph, ordered

from search.encoders.svge.model import SVGe
from search.experiments.svge.prediction import fine_tuned


@pytest.fixture(scope="session")
def task():
    return made_task()


@pytest.fixture(scope="session")
def model(task):
    model = SVGe(task.space, **task.settings)
    model.fit(task.graphs, seed=0)
    return model


@pytest.fixture(scope="session")
def tuned(task, model):
    return fine_tuned(model, task, seed=0)


@pytest.fixture(scope="session")
def graphs():
    """No two are isomorphic: the encoder could not tell them apart."""
    found = every_graph(SMALL)
    return found[ordered(found)]


@pytest.fixture(scope="session")
def learned(graphs):
    """One training that several tests look at."""
    model = SVGe(SMALL, state=48, epochs=170, batch=31, lr=3e-3)
    model.fit(graphs, seed=0)
    return model


@pytest.fixture(scope="session")
def quick(graphs):
    model = SVGe(SMALL, **QUICK)
    model.fit(graphs, seed=0)
    return model
