"""The made task, and a model trained on it for a moment."""

import pytest
from made_task import made_task

from search.embedding import SVGe
from search.svge.prediction import fine_tuned


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
